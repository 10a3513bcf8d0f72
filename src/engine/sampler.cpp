#include "engine/sampler.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <limits>

#include "base/limits.h"

namespace llorch {
namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

// SplitMix64's finaliser: every input bit reaches every output bit.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

bool likelier(const Candidate& a, const Candidate& b) {
  // Ties go to the smaller id, so that the order never depends on the sort.
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

Token argmax(const std::vector<Candidate>& row) {
  return std::max_element(row.begin(), row.end(),
                          [](const auto& a, const auto& b) { return likelier(b, a); })
      ->id;
}

// The same over the row as the model wrote it. Lanes of their own let the compiler vectorise the
// search, which a single running maximum does not.
Token argmax(std::span<const float> logits) {
  std::array<float, 32> lanes;
  lanes.fill(minus_infinity);
  const auto whole = logits.size() - logits.size() % lanes.size();
  for (std::size_t i = 0; i < whole; i += lanes.size()) {
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
      lanes[lane] = logits[i + lane] > lanes[lane] ? logits[i + lane] : lanes[lane];
    }
  }
  float best = *std::max_element(lanes.begin(), lanes.end());
  for (auto i = whole; i < logits.size(); ++i) best = std::max(best, logits[i]);
  const auto found = std::find(logits.begin(), logits.end(), best);
  return static_cast<Token>(found == logits.end() ? 0 : found - logits.begin());
}

void softmax(std::vector<Candidate>& row, float temperature) {
  float best = minus_infinity;
  for (const auto& c : row) best = std::max(best, c.logit);
  double sum = 0;
  for (auto& c : row) {
    c.probability = std::exp((c.logit - best) / temperature);
    sum += c.probability;
  }
  for (auto& c : row) c.probability = static_cast<float>(c.probability / sum);
}

void keep_top_k(std::vector<Candidate>& row, std::size_t k) {
  if (k == 0 || k >= row.size()) return;
  std::nth_element(row.begin(), row.begin() + static_cast<std::ptrdiff_t>(k), row.end(), likelier);
  row.resize(k);
}

// Keeps the likeliest candidates until their probabilities reach `p`. Sorts in growing blocks:
// the head of the distribution nearly always suffices.
void keep_top_p(std::vector<Candidate>& row, double p) {
  if (p >= 1 || row.size() < 2) return;
  softmax(row, 1.0F);
  double sum = 0;
  std::size_t sorted = 0;
  for (std::size_t block = 64; sorted < row.size(); block *= 4) {
    const auto end = std::min(row.size(), sorted + block);
    const auto from = row.begin() + static_cast<std::ptrdiff_t>(sorted);
    std::partial_sort(from, row.begin() + static_cast<std::ptrdiff_t>(end), row.end(), likelier);
    for (; sorted < end; ++sorted) {
      sum += row[sorted].probability;
      if (sum >= p) {
        row.resize(sorted + 1);
        return;
      }
    }
  }
}

void keep_min_p(std::vector<Candidate>& row, double p) {
  if (p <= 0 || row.size() < 2) return;
  float best = minus_infinity;
  for (const auto& c : row) best = std::max(best, c.logit);
  const auto least = best + static_cast<float>(std::log(p));
  std::erase_if(row, [&](const Candidate& c) { return c.logit < least; });
}

}  // namespace

double counter_uniform(std::uint64_t seed, std::uint64_t token_index) {
  return static_cast<double>(mix(mix(seed) ^ mix(~token_index)) >> 11) * 0x1.0p-53;
}

Sampling resolve_sampling(const SamplingFields& fields, const SamplingDefaults& defaults,
                          std::uint64_t seed) {
  Sampling resolved{.chain = defaults, .seed = seed, .logit_bias = fields.logit_bias};
  auto& chain = resolved.chain;
  chain.temperature = fields.temperature.value_or(chain.temperature);
  chain.top_p = fields.top_p.value_or(chain.top_p);
  chain.min_p = fields.min_p.value_or(chain.min_p);
  chain.top_k = fields.top_k.value_or(chain.top_k);
  chain.repetition_penalty = fields.repetition_penalty.value_or(chain.repetition_penalty);
  chain.presence_penalty = fields.presence_penalty.value_or(chain.presence_penalty);
  chain.frequency_penalty = fields.frequency_penalty.value_or(chain.frequency_penalty);
  return resolved;
}

Sampler::Sampler(Sampling sampling, std::vector<Token> never)
    : sampling_(std::move(sampling)), never_(std::move(never)) {
  recent_.reserve(limits::penalty_window_tokens);
  seen_.reserve(limits::penalty_window_tokens);
}

void Sampler::accept(Token token) {
  if (recent_.size() < limits::penalty_window_tokens) {
    recent_.push_back(token);
  } else {
    recent_[recent_at_] = token;
    recent_at_ = (recent_at_ + 1) % limits::penalty_window_tokens;
  }
}

void Sampler::load_row(std::span<const float> logits) {
  row_.resize(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    row_[i] = {static_cast<Token>(i), logits[i], 0};
  }
  const auto at = [&](Token id) -> Candidate* {
    const auto index = static_cast<std::size_t>(id);
    return id >= 0 && index < row_.size() ? &row_[index] : nullptr;
  };
  for (const auto& [id, bias] : sampling_.logit_bias) {
    if (auto* c = at(id)) c->logit += static_cast<float>(bias);
  }
  for (const auto id : never_) {
    if (auto* c = at(id)) c->logit = minus_infinity;
  }
}

bool Sampler::penalises() const {
  const auto& chain = sampling_.chain;
  return chain.repetition_penalty != 1 || chain.presence_penalty != 0 ||
         chain.frequency_penalty != 0;
}

std::optional<Token> Sampler::greedy(std::span<const float> logits) const {
  if (static_cast<float>(sampling_.chain.temperature) > 0 || penalises()) return std::nullopt;
  if (!sampling_.logit_bias.empty()) return std::nullopt;
  const auto best = argmax(logits);
  const bool allowed = std::find(never_.begin(), never_.end(), best) == never_.end();
  return allowed ? std::optional(best) : std::nullopt;
}

void Sampler::apply_penalties() {
  if (!penalises()) return;
  const auto& chain = sampling_.chain;
  seen_ = recent_;
  std::sort(seen_.begin(), seen_.end());
  for (auto from = seen_.begin(); from != seen_.end();) {
    const auto to = std::upper_bound(from, seen_.end(), *from);
    auto& logit = row_[static_cast<std::size_t>(*from)].logit;
    const auto penalty = static_cast<float>(chain.repetition_penalty);
    logit = logit > 0 ? logit / penalty : logit * penalty;
    logit -= static_cast<float>(static_cast<double>(to - from) * chain.frequency_penalty +
                                chain.presence_penalty);
    from = to;
  }
}

Token Sampler::choose(double u) {
  const auto& chain = sampling_.chain;
  const auto temperature = static_cast<float>(chain.temperature);
  if (temperature <= 0) return argmax(row_);  // also of one too small for a float
  keep_top_k(row_, chain.top_k);
  keep_top_p(row_, chain.top_p);
  keep_min_p(row_, chain.min_p);
  softmax(row_, temperature);
  // By id, so that the draw does not depend on how the row was partitioned above. A row that no
  // field has cut is still in that order.
  const auto by_id = [](const auto& a, const auto& b) { return a.id < b.id; };
  if (!std::is_sorted(row_.begin(), row_.end(), by_id)) std::sort(row_.begin(), row_.end(), by_id);
  double sum = 0;
  for (const auto& c : row_) {
    sum += c.probability;
    if (u < sum) return c.id;
  }
  // Rounding left the sum just below u: the last candidate that can be chosen at all.
  const auto last =
      std::find_if(row_.rbegin(), row_.rend(), [](const auto& c) { return c.probability > 0; });
  return last != row_.rend() ? last->id : row_.back().id;
}

std::optional<Token> Sampler::pick(std::span<const float> logits, std::uint64_t token_index,
                                   const Constraint* constraint) {
  assert(!logits.empty());
  const double u = counter_uniform(sampling_.seed, token_index);
  auto free_choice = greedy(logits);
  if (!free_choice) {
    load_row(logits);
    apply_penalties();
    free_choice = choose(u);
  }
  if (constraint == nullptr || constraint->allows(*free_choice)) return free_choice;

  load_row(logits);
  apply_penalties();
  constraint->mask(row_);
  std::erase_if(row_, [](const Candidate& c) { return c.logit == minus_infinity; });
  if (row_.empty()) return std::nullopt;
  return choose(u);
}

std::vector<Ranked> log_probabilities(std::span<const float> logits, Token chosen,
                                      std::size_t count) {
  const float best = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - best);
  const double log_sum = std::log(sum) + best;

  std::vector<Token> order(logits.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<Token>(i);
  count = std::min(count, order.size());
  const auto value = [&](Token id) { return logits[static_cast<std::size_t>(id)]; };
  std::partial_sort(
      order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
      [&](Token a, Token b) { return value(a) != value(b) ? value(a) > value(b) : a < b; });
  std::vector<Ranked> ranked{{chosen, value(chosen) - log_sum}};
  for (std::size_t i = 0; i < count; ++i) {
    ranked.push_back({order[i], value(order[i]) - log_sum});
  }
  return ranked;
}

}  // namespace llorch
