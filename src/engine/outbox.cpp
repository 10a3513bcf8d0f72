#include "engine/outbox.h"

#include <utility>

#include "base/limits.h"

namespace llorch {

void Outbox::on_ready(Callback ready) {
  const std::lock_guard lock(mutex_);
  ready_ = ready ? std::make_shared<const Callback>(std::move(ready)) : nullptr;
}

void Outbox::on_room(Callback room) {
  const std::lock_guard lock(mutex_);
  room_ = std::move(room);
}

bool Outbox::try_push(JobEvent event) {
  const bool last = std::holds_alternative<Ended>(event) || std::holds_alternative<Failed>(event);
  std::shared_ptr<const Callback> ready;
  {
    const std::lock_guard lock(mutex_);
    if (!last && events_.size() >= limits::outbox_events_max) {
      if (std::holds_alternative<PrefillProgress>(event)) return true;
      refused_ = true;
      return false;
    }
    events_.push_back(std::move(event));
    const std::size_t many = next_ == Ready::late ? limits::outbox_events_max / 2 : 1;
    if (events_.size() == many || (last && next_ == Ready::late)) ready = ready_;
  }
  if (ready) (*ready)();
  return true;
}

void Outbox::take(std::vector<JobEvent>& into, Ready next) {
  into.clear();
  Callback room;
  {
    const std::lock_guard lock(mutex_);
    into.swap(events_);
    next_ = next;
    if (std::exchange(refused_, false)) room = room_;
  }
  if (room) room();
}

}  // namespace llorch
