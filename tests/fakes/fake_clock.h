// A clock that stands still until a test moves it. Threads: one.
#pragma once

#include <chrono>

#include "base/clock.h"

namespace llorch {

class FakeClock final : public Clock {
 public:
  SteadyTime now() const override { return SteadyTime{} + since_start_; }
  WallTime wall() const override { return WallTime{} + since_start_; }
  void advance(std::chrono::milliseconds by) { since_start_ += by; }

 private:
  std::chrono::milliseconds since_start_{1'000'000};  // so that times before the test exist
};

}  // namespace llorch
