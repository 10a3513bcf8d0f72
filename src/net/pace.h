// The same next moment for all coroutines that want a short pause: they cost one timer together.
// Threads: the executor's one thread. Lifetime: outlives its waiters.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>

#include "net/asio.h"

namespace llorch::net {

class Pace {
 public:
  Pace(const Executor& executor, std::chrono::milliseconds period)
      : period_(period), timer_(executor, std::chrono::steady_clock::time_point::min()) {}

  // Waits for at most the period: until the moment for which others wait already, if there is one.
  Task<void> next();

 private:
  const std::chrono::milliseconds period_;
  asio::steady_timer timer_;
};

}  // namespace llorch::net
