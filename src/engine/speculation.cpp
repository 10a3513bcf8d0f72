#include "engine/speculation.h"

#include <algorithm>
#include <bit>
#include <cassert>

namespace llorch {
namespace {

constexpr std::size_t ngram_tokens = 3;  // two stand together by chance too often
constexpr double share_weight = 0.125;   // of the running share: follows a change within ~16 tokens
constexpr double newest_cost_weight = 0.25;
// A guess must promise this much more than its cost: both are only known on average.
constexpr double gain_least = 1.1;
// Before it is measured a guessed token counts as this share of a step of its own: too much for
// most machines, so the first guesses are checked where they are nearly sure.
constexpr double row_share_unknown = 0.4;

}  // namespace

std::size_t NgramIndex::bucket(const Token* ngram) const {
  std::uint64_t hash = 0;
  for (std::size_t i = 0; i < ngram_tokens; ++i) {
    hash = (hash ^ static_cast<std::uint32_t>(ngram[i])) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29;
  }
  return hash & (followed_at_.size() - 1);
}

// Every n-gram that something follows, so never the last one. It grows with the sequence, by half
// of it at the least, so that no step pays for more than its own token.
void NgramIndex::extend(std::span<const Token> tokens) {
  if (followed_at_.size() < tokens.size()) {
    followed_at_.assign(std::bit_ceil(2 * tokens.size()), 0);
    indexed_ = 0;
  }
  for (auto at = std::max(indexed_, ngram_tokens); at < tokens.size(); ++at) {
    followed_at_[bucket(tokens.data() + at - ngram_tokens)] = static_cast<std::uint32_t>(at);
  }
  indexed_ = tokens.size();
}

std::span<const Token> NgramIndex::continuation(std::span<const Token> tokens, std::size_t most) {
  if (tokens.size() <= ngram_tokens) return {};
  extend(tokens);
  const auto* const last = tokens.data() + tokens.size() - ngram_tokens;
  const std::size_t at = followed_at_[bucket(last)];
  // Two n-grams may share a bucket.
  if (at == 0 || !std::equal(last, last + ngram_tokens, tokens.data() + at - ngram_tokens)) {
    return {};
  }
  return tokens.subspan(at, std::min(most, tokens.size() - at));
}

void DraftCost::observe(std::int32_t drafted, double ms) {
  assert(drafted >= 0 && drafted <= limits::draft_tokens_max);
  auto& mean = ms_[static_cast<std::size_t>(drafted)];
  mean = mean == 0 ? ms : mean + newest_cost_weight * (ms - mean);
}

double DraftCost::steps(std::int32_t drafted) const {
  const double alone_ms = ms_[0];
  if (drafted == 0) return 1;
  if (alone_ms <= 0) return 1 + drafted * row_share_unknown;
  const double seen_ms = ms_[static_cast<std::size_t>(drafted)];
  if (seen_ms > 0) return seen_ms / alone_ms;
  // As the nearest length that was seen: what a row more costs there.
  for (std::int32_t distance = 1; distance <= limits::draft_tokens_max; ++distance) {
    for (const auto near : {drafted - distance, drafted + distance}) {
      if (near < 1 || near > limits::draft_tokens_max) continue;
      const double near_ms = ms_[static_cast<std::size_t>(near)];
      if (near_ms > 0) return 1 + (near_ms / alone_ms - 1) * drafted / near;
    }
  }
  return 1 + drafted * row_share_unknown;
}

std::span<const Token> Speculation::draft(std::span<const Token> tokens, std::int32_t most,
                                          const DraftCost& cost) {
  const auto guess = index_.continuation(tokens, guess_.size());
  std::ranges::copy(guess, guess_.begin());
  guessed_ = guess.size();
  const auto longest = std::min(most, static_cast<std::int32_t>(guessed_));
  std::int32_t best = 0;
  double best_gain = gain_least;
  double expected = 1;  // tokens of a step: its own, and each guess that all before it make right
  double all_right = 1;
  for (std::int32_t length = 1; length <= longest; ++length) {
    all_right *= right_;
    expected += all_right;
    const double gain = expected / cost.steps(length);
    if (gain <= best_gain) continue;
    best = length;
    best_gain = gain;
  }
  return std::span(guess_).first(static_cast<std::size_t>(best));
}

void Speculation::judge(std::size_t position, Token drawn) {
  if (position >= guessed_) return;
  const double right = guess_[position] == drawn ? 1 : 0;
  right_ += share_weight * (right - right_);
}

}  // namespace llorch
