// A timing wheel turned by an io_context, for as long as a deadline is armed.
// Threads: the io_context's one thread. Lifetime: shared by everything that holds a Deadline.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <memory>

#include "net/asio.h"
#include "net/timing_wheel.h"

namespace llorch::net {

class WheelTimer : public std::enable_shared_from_this<WheelTimer> {
 public:
  explicit WheelTimer(Executor executor);
  TimingWheel& wheel() { return wheel_; }

 private:
  void tick();

  SystemClock clock_;
  TimingWheel wheel_;
  asio::steady_timer timer_;
  bool ticking_ = false;
};

}  // namespace llorch::net
