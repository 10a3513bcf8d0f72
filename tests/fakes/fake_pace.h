// The speeds of a fake engine: how many tokens are due since the last step. Pure but for the time
// that comes in. Threads: one.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>

namespace llorch {

class FakePace {
 public:
  using Time = std::chrono::steady_clock::time_point;

  FakePace(double prefill_per_s, double decode_per_s)
      : prefill_per_s_(prefill_per_s), decode_per_s_(decode_per_s) {}

  bool kept() const { return prefill_per_s_ > 0 && decode_per_s_ > 0; }
  void idle_until(Time now) { given_at_ = now; }

  // The time since the last call, given to what there is to do.
  void give(Time now, bool prefilling, std::int64_t streams) {
    constexpr std::chrono::milliseconds longest{50};  // what the machine did not give us is gone
    const std::chrono::duration<double> spent =
        std::min<std::chrono::steady_clock::duration>(now - given_at_, longest);
    given_at_ = now;
    prefill_due_ = prefilling ? prefill_due_ + spent.count() * prefill_per_s_ : 0;
    decode_due_ = streams > 0 ? decode_due_ + spent.count() * decode_per_s_ : 0;
    if (prefilling) prefill_measured_ = prefill_per_s_;
    if (streams == 0) return;
    constexpr double newest = 0.05;
    const auto all = decode_per_s_ * static_cast<double>(streams);
    decode_measured_ =
        decode_measured_ > 0 ? decode_measured_ + newest * (all - decode_measured_) : all;
  }

  // Whole tokens that are due: of each stream, and of all prompts together.
  std::int64_t take_decode() {
    const auto due = std::floor(decode_due_);
    decode_due_ -= due;
    return static_cast<std::int64_t>(due);
  }
  std::int64_t take_prefill(std::int64_t at_most) {
    const auto taken = std::min(static_cast<std::int64_t>(prefill_due_), at_most);
    prefill_due_ -= static_cast<double>(taken);
    return taken;
  }
  // As a worker measures them: of one prompt, and of all streams together. 0: not yet.
  double prefill_measured() const { return prefill_measured_; }
  double decode_measured() const { return decode_measured_; }
  bool prefill_due() const { return prefill_due_ >= 1; }

 private:
  double prefill_per_s_, decode_per_s_;
  double prefill_due_ = 0, decode_due_ = 0;
  double prefill_measured_ = 0, decode_measured_ = 0;
  Time given_at_{};
};

}  // namespace llorch
