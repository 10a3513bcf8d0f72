// Puts a script to rest that keeps running into its limits, so that it cannot slow every decision.
// Threads: one owner. Pure: the time comes in from outside.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>

#include "base/clock.h"
#include "base/limits.h"

namespace llorch {

class RestRule {
 public:
  // A limit was hit. True: with this hit a rest begins.
  bool note_hit(SteadyTime now) {
    hits_[next_] = now;
    next_ = (next_ + 1) % hits_.size();
    count_ = count_ < hits_.size() ? count_ + 1 : count_;
    // With a full ring, next_ is the oldest of the last policy_limit_hits_max hits.
    const bool many =
        count_ == hits_.size() &&
        now - hits_[next_] <= std::chrono::milliseconds(limits::policy_hits_window_ms);
    if (!many) return false;
    rests_until_ = now + std::chrono::milliseconds(limits::policy_rest_ms);
    count_ = 0;
    return true;
  }
  bool is_resting(SteadyTime now) const { return now < rests_until_; }

 private:
  std::array<SteadyTime, limits::policy_limit_hits_max> hits_{};
  std::size_t next_ = 0;
  std::size_t count_ = 0;
  SteadyTime rests_until_ = SteadyTime::min();
};

}  // namespace llorch
