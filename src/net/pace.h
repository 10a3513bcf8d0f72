// The same next moment for all coroutines that want a short pause: they cost one timer together.
// Threads: the executor's one thread. Lifetime: outlives its waiters.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>

#include "net/asio.h"

namespace llorch::net {

class Pace {
 public:
  // The more wait together, the longer the pause: a millisecond for each `waiters_a_ms`.
  static constexpr std::size_t waiters_a_ms = 16;
  Pace(const Executor& executor, std::chrono::milliseconds least, std::chrono::milliseconds most)
      : least_(least),
        most_(most),
        timer_(executor, std::chrono::steady_clock::time_point::min()) {}

  // Waits for at most `most`: until the moment for which others wait already, if there is one.
  Task<void> next();

 private:
  const std::chrono::milliseconds least_, most_;
  std::size_t waiters_ = 0;  // for the moment of the timer
  asio::steady_timer timer_;
};

}  // namespace llorch::net
