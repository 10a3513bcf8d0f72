#include "engine/outbox.h"

#include <utility>

#include "base/limits.h"

namespace llorch {

void Outbox::on_ready(Callback ready) {
  const std::lock_guard lock(mutex_);
  ready_ = std::move(ready);
}

void Outbox::on_room(Callback room) {
  const std::lock_guard lock(mutex_);
  room_ = std::move(room);
}

bool Outbox::try_push(JobEvent event) {
  const bool last = std::holds_alternative<Ended>(event) || std::holds_alternative<Failed>(event);
  Callback ready;
  {
    const std::lock_guard lock(mutex_);
    if (!last && events_.size() >= limits::outbox_events_max) {
      if (std::holds_alternative<PrefillProgress>(event)) return true;
      refused_ = true;
      return false;
    }
    if (events_.empty()) ready = ready_;
    events_.push_back(std::move(event));
  }
  if (ready) ready();
  return true;
}

std::vector<JobEvent> Outbox::take() {
  Callback room;
  std::vector<JobEvent> taken;
  {
    const std::lock_guard lock(mutex_);
    taken.swap(events_);
    if (std::exchange(refused_, false)) room = room_;
  }
  if (room) room();
  return taken;
}

}  // namespace llorch
