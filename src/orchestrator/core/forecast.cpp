#include "orchestrator/core/forecast.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace llorch {
namespace {

bool later(const Lane& a, const Lane& b) {
  return a.free_in_ms > b.free_in_ms;
}

}  // namespace

Forecast::Forecast(std::vector<Lane> lanes) : lanes_(std::move(lanes)) {
  std::make_heap(lanes_.begin(), lanes_.end(), later);
}

double Forecast::next_start_ms() const {
  assert(!lanes_.empty());
  return lanes_.front().free_in_ms;
}

double Forecast::length_ms(double prompt_tokens, double tokens_out) const {
  assert(!lanes_.empty());
  const auto& lane = lanes_.front();
  return prompt_tokens * lane.ms_per_prompt_token + tokens_out * lane.ms_per_token;
}

double Forecast::start(double prompt_tokens, double tokens_out) {
  assert(!lanes_.empty());
  const auto taken = length_ms(prompt_tokens, tokens_out);
  std::pop_heap(lanes_.begin(), lanes_.end(), later);
  const auto start_ms = lanes_.back().free_in_ms;
  lanes_.back().free_in_ms += taken;
  std::push_heap(lanes_.begin(), lanes_.end(), later);
  return start_ms;
}

}  // namespace llorch
