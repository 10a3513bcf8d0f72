// So many of something a second, and no more: lines of a log, rows that a flood would write.
// Threads: one owner. Pure.
#pragma once

#include <chrono>
#include <cstddef>

#include "base/clock.h"

namespace llorch {

class SecondQuota {
 public:
  explicit SecondQuota(std::size_t most) : most_(most) {}

  // False: this second has had its share.
  bool take(SteadyTime now) {
    if (begun_ == SteadyTime::min() || now - begun_ >= std::chrono::seconds(1)) {
      begun_ = now;
      taken_ = 0;
    }
    if (taken_ == most_) return false;
    ++taken_;
    return true;
  }

 private:
  std::size_t most_;
  std::size_t taken_ = 0;
  SteadyTime begun_ = SteadyTime::min();
};

}  // namespace llorch
