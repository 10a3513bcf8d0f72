// Whether the frames of a stream come so fast that some of them are better sent together: for many
// streams, bytes cost less than their number of writes, at both ends and at whoever relays them.
// Pure. Threads: one owner. Lifetime: one a stream.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

#include "base/clock.h"

namespace llorch {

class FrameHold {
 public:
  // `most`: so long may a frame wait; 0: none does.
  explicit FrameHold(std::chrono::milliseconds most) : most_(most) {}
  // So many tokens were taken together, and are sent now.
  void took(std::size_t tokens, SteadyTime now) {
    const double each_ms = std::min(fast_ms, static_cast<double>(most_.count()));
    const auto since_ms = elapsed_ms(taken_at_, now);
    fast_ = begun_ && tokens > 0 && since_ms < each_ms * static_cast<double>(tokens);
    if (tokens == 0) return;
    begun_ = true;
    taken_at_ = now;
  }
  // The next ones may wait for most(). The first of an answer never does.
  bool fast() const { return fast_; }
  std::chrono::milliseconds most() const { return most_; }

 private:
  static constexpr double fast_ms = 2;

  std::chrono::milliseconds most_;
  bool begun_ = false, fast_ = false;
  SteadyTime taken_at_;
};

}  // namespace llorch
