// How fast jobs finish, to tell a refused client when a place is likely to be free.
// Threads: one. Pure: time comes in from outside.
#pragma once

#include <cstdint>
#include <deque>

#include "base/clock.h"

namespace llorch {

class FinishRate {
 public:
  void finished(SteadyTime now);
  // The mean gap between the latest finishes, a standstill since the last one included.
  // Shape: 50..60 000 ms; 1 000 while nothing has been measured.
  std::int64_t retry_after_ms(SteadyTime now) const;

 private:
  std::deque<SteadyTime> finishes_;  // the latest 16
};

}  // namespace llorch
