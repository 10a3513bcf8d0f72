// How many tokens of prompts are computed a second, of the last few thousand. Steps that compute
// many count most: it is asked how long a long prompt will take, and the few tokens that are left
// of a cached one take a step as well.
// Threads: one owner. Pure.
#pragma once

#include <algorithm>

namespace llorch {

class PrefillRate {
 public:
  void add(double tokens, double ms) {
    if (tokens <= 0 || ms <= 0) return;
    known_ = known_ || tokens >= known_tokens;
    const double share = std::min(tokens / telling_tokens, 1.0);
    const double kept = 1 - std::min(share * tokens / window_tokens, forgotten_most);
    tokens_ = tokens_ * kept + share * tokens;
    ms_ = ms_ * kept + share * ms;
  }
  // 0: only short prompts were seen, and a guess from those could keep the long ones away for good.
  double per_second() const { return known_ ? tokens_ * 1000 / ms_ : 0; }

 private:
  static constexpr double telling_tokens = 256;
  static constexpr double window_tokens = 4'096;
  static constexpr double forgotten_most = 0.5;  // by one step
  static constexpr double known_tokens = 64;     // in one step

  double tokens_ = 0, ms_ = 0;
  bool known_ = false;
};

}  // namespace llorch
