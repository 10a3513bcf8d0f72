// The same next moment for all coroutines that want a short pause: they cost one timer together.
// Threads: the executor's one thread. Lifetime: outlives its waiters.
#pragma once

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <chrono>

#include "net/asio.h"

namespace llorch::net {

class Pace {
 public:
  Pace(const Executor& executor, std::chrono::milliseconds least, std::chrono::milliseconds most)
      : least_(least),
        most_(most),
        timer_(executor, std::chrono::steady_clock::time_point::min()) {}

  // The more have waited for the last moment, the later the next one: a millisecond for each 16.
  static std::chrono::milliseconds pause(std::size_t waiters, std::chrono::milliseconds least,
                                         std::chrono::milliseconds most) {
    return std::min(least + std::chrono::milliseconds(waiters / 16), most);
  }
  // Waits for at most `most`: until the moment for which others wait already, if there is one.
  Task<void> next();

 private:
  const std::chrono::milliseconds least_, most_;
  std::size_t waiters_ = 0;  // for the moment of the timer
  asio::steady_timer timer_;
};

}  // namespace llorch::net
