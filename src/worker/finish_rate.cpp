#include "worker/finish_rate.h"

#include <algorithm>

namespace llorch {

void FinishRate::finished(SteadyTime now) {
  constexpr std::size_t remembered = 16;  // a few rounds of the slots: follows a changing load
  if (finishes_.size() == remembered) finishes_.pop_front();
  finishes_.push_back(now);
}

std::int64_t FinishRate::retry_after_ms(SteadyTime now) const {
  constexpr double unmeasured_ms = 1'000;
  constexpr double least_ms = 50;        // sooner than that, asking costs more than waiting
  constexpr double longest_ms = 60'000;  // a guess that far ahead is worth no more
  if (finishes_.size() < 2) return static_cast<std::int64_t>(unmeasured_ms);
  const double gap_ms =
      elapsed_ms(finishes_.front(), now) / static_cast<double>(finishes_.size() - 1);
  return static_cast<std::int64_t>(std::clamp(gap_ms, least_ms, longest_ms));
}

}  // namespace llorch
