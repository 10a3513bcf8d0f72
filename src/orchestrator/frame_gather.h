// When the frames of a stream that comes fast are read and passed on: some together, for many
// streams their bytes cost less than their number. The first of an answer and its end wait for
// nothing that a reader could tell. Pure. Threads: one owner. Lifetime: one a stream.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace llorch {

// A fast stream is read after a pause of one or some of these; its end is noticed that late.
inline constexpr std::chrono::microseconds gather_step{500};

class FrameGather {
 public:
  // How long frames may be held, where so many streams are read together.
  static double hold_ms(std::size_t streams) {
    constexpr std::size_t most_ms = 8;
    return static_cast<double>(std::min(1 + streams / 8, most_ms));
  }
  // So many frames were read together; 0: what had to be passed on at once.
  void read(int frames, SteadyTime now) {
    const auto since_ms = elapsed_ms(read_at_, now);
    fast_ = frames > 1 || (frames == 1 && since_ms < fast_ms);
    frames_a_ms_ = frames / std::max(since_ms, 0.1);
    holds_ = true;
    read_at_ = now;
  }
  // The next frames may be there in a moment.
  bool fast() const { return fast_; }
  // In so many steps they are read: not past the end of an answer that has so many tokens left.
  static constexpr std::int64_t unknown = -1;
  int steps(std::size_t streams, std::int64_t tokens_left) const {
    constexpr double most_ms = 4;
    constexpr double any_moment_ms = 1;
    const double left_ms = tokens_left == unknown
                               ? any_moment_ms
                               : static_cast<double>(tokens_left) / std::max(frames_a_ms_, 0.1);
    const double ms = std::min({left_ms, hold_ms(streams), most_ms});
    return std::max(static_cast<int>(std::ceil(ms / step_ms)), 1);
  }
  // What is held is passed on now.
  bool due(std::size_t streams) const {
    return !fast_ || elapsed_ms(passed_on_at_, read_at_) >= hold_ms(streams);
  }
  bool holds() const { return holds_; }
  void passed_on() {
    passed_on_at_ = read_at_;
    holds_ = false;
  }

 private:
  static constexpr double fast_ms = 2;
  static constexpr double step_ms = gather_step.count() / 1e3;

  bool fast_ = false, holds_ = false;
  double frames_a_ms_ = 0;
  SteadyTime read_at_, passed_on_at_;
};

}  // namespace llorch
