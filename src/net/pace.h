// The same next moments for all coroutines that want a short pause: those that wait for one moment
// cost one timer together. Threads: the executor's one thread. Lifetime: outlives its waiters.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstddef>
#include <vector>

#include "net/asio.h"

namespace llorch::net {

class Pace {
 public:
  static constexpr int steps_max = 15;

  Pace(const Executor& executor, std::chrono::steady_clock::duration step);

  // Until the last of so many moments, 1 to steps_max: at most that many steps, and more than one
  // fewer.
  Task<void> wait(int steps);
  // How many wait just now.
  std::size_t crowd() const { return crowd_; }

 private:
  using Time = std::chrono::steady_clock::time_point;

  const std::chrono::steady_clock::duration step_;
  std::size_t crowd_ = 0;
  std::vector<asio::steady_timer> moments_;  // of the next ones, in turns
};

}  // namespace llorch::net
