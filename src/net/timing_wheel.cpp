#include "net/timing_wheel.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace llorch::net {

void WheelLink::unlink() {
  previous->next = next;
  next->previous = previous;
  previous = next = this;
}

void WheelLink::push_back(WheelLink& link) {
  link.previous = previous;
  link.next = this;
  previous->next = &link;
  previous = &link;
}

Deadline::Deadline(TimingWheel& wheel, std::function<void()> expired)
    : wheel_(wheel), expired_(std::move(expired)) {}

Deadline::~Deadline() {
  disarm();
  unlink();
}

void Deadline::arm(std::int64_t after_ms) {
  constexpr std::int64_t tick = TimingWheel::tick_ms;
  const std::int64_t due = wheel_.now_tick() + std::max<std::int64_t>(after_ms, 0) / tick + 2;
  const bool first = !armed() && wheel_.armed_++ == 0;
  due_ = due;
  // A later deadline stays where it is filed, and is moved on when its bucket comes round.
  if (filed_ == never || due < filed_) wheel_.file(*this);
  if (first && wheel_.wake_) wheel_.wake_();
}

void Deadline::disarm() {
  if (!armed()) return;
  due_ = never;
  --wheel_.armed_;
}

TimingWheel::TimingWheel(const Clock& clock, std::function<void()> wake)
    : clock_(clock), wake_(std::move(wake)), wheel_(buckets), turned_(now_tick()) {}

std::int64_t TimingWheel::now_tick() const {
  using std::chrono::milliseconds;
  const auto since = std::chrono::duration_cast<milliseconds>(clock_.now().time_since_epoch());
  return since.count() / tick_ms;
}

void TimingWheel::file(Deadline& deadline) {
  deadline.unlink();
  deadline.filed_ = std::clamp(deadline.due_, turned_ + 1, turned_ + buckets - 1);
  wheel_[static_cast<std::size_t>(deadline.filed_ % buckets)].push_back(deadline);
}

void TimingWheel::advance() {
  const std::int64_t now = now_tick();
  // After a pause longer than the wheel, one turn meets every bucket.
  turned_ = std::max(turned_, now - buckets);
  while (turned_ < now) {
    ++turned_;
    WheelLink& bucket = wheel_[static_cast<std::size_t>(turned_ % buckets)];
    WheelLink due;  // taken out whole: what expires may file and destroy others meanwhile
    while (bucket.next != &bucket) {
      WheelLink& link = *bucket.next;
      link.unlink();
      due.push_back(link);
    }
    while (due.next != &due) {
      auto& deadline = static_cast<Deadline&>(*due.next);
      deadline.unlink();
      deadline.filed_ = Deadline::never;
      if (!deadline.armed()) continue;
      if (deadline.due_ > now) {
        file(deadline);
        continue;
      }
      deadline.disarm();
      const auto expired = deadline.expired_;  // a copy: it may destroy its deadline
      expired();
    }
  }
}

}  // namespace llorch::net
