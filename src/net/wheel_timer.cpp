#include "net/wheel_timer.h"

#include <chrono>

namespace llorch::net {

WheelTimer::WheelTimer(Executor executor)
    : wheel_(clock_,
             [this] {
               if (!ticking_) tick();
             }),
      timer_(std::move(executor)) {}

void WheelTimer::tick() {
  ticking_ = true;
  timer_.expires_after(std::chrono::milliseconds(TimingWheel::tick_ms));
  timer_.async_wait([weak = weak_from_this()](boost::system::error_code aborted) {
    const auto self = weak.lock();
    if (aborted || !self) return;
    self->wheel_.advance();
    // An idle wheel stops, so that its io_context can run out of work.
    self->ticking_ = false;
    if (!self->wheel_.idle()) self->tick();
  });
}

}  // namespace llorch::net
