#include "orchestrator/keys/token_bucket.h"

#include <algorithm>
#include <cmath>

namespace llorch {
namespace {

constexpr double minute_ms = 60'000;

}  // namespace

double TokenBucket::level_at(Millis now_ms) const {
  const auto passed_ms = static_cast<double>(std::max<Millis>(now_ms - at_ms_, 0));
  return std::min(level_ + passed_ms * tokens_per_minute_ / minute_ms, tokens_per_minute_);
}

void TokenBucket::take(std::int64_t tokens, Millis now_ms) {
  level_ = std::min(level_at(now_ms) - static_cast<double>(tokens), tokens_per_minute_);
  at_ms_ = std::max(at_ms_, now_ms);
}

Millis TokenBucket::wait_ms(Millis now_ms) const {
  const double missing = 1 - level_at(now_ms);
  if (missing <= 0) return 0;
  return static_cast<Millis>(std::ceil(missing * minute_ms / tokens_per_minute_));
}

}  // namespace llorch
