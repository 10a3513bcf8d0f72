#include "engine/step_cost.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

namespace llorch {
namespace {

constexpr double decode_weight = 0.25;  // of a running mean: follows a change within ~8 steps
// Steps of one shape differ by about a tenth on a machine that does other things, too.
constexpr double noise = 0.1;
constexpr double drift_share = 0.05;  // of a price's first guess, in a step
// A step this many times longer than foreseen says no more than one of that length: the machine
// was busy. A real change is reached within a few steps.
constexpr double surprise_most = 2;
// First guesses: a prompt costs as much as so many tokens, and so many cells as much as a token.
constexpr double prompt_tokens_worth = 8;
constexpr double cells_per_token_worth = 512;
constexpr double usual_context = 512;

}  // namespace

PrefillWork PrefillWork::of(std::int64_t count, std::int64_t done) {
  PrefillWork work;
  work.add(count, done);
  return work;
}

void PrefillWork::add(std::int64_t count, std::int64_t done) {
  if (count <= 0) return;
  ++prompts;
  tokens += count;
  const auto n = static_cast<double>(count);
  const auto read = n * static_cast<double>(done) + n * (n + 1) / 2;
  (count < wide_from_tokens(done) ? narrow_cells : wide_cells) += read;
}

PrefillCost::Vector PrefillCost::amounts(const PrefillWork& work) {
  return {static_cast<double>(work.prompts), static_cast<double>(work.tokens), work.narrow_cells,
          work.wide_cells};
}

void PrefillCost::observe(const PrefillWork& work, double ms) {
  if (work.tokens <= 0 || ms <= 0) return;
  if (!std::exchange(known_, true)) {
    const double each = ms / static_cast<double>(work.tokens);
    prices_[token] = each;
    const Vector scale{each * prompt_tokens_worth, each, each / cells_per_token_worth,
                       each / cells_per_token_worth};
    for (std::size_t i = 0; i < scale.size(); ++i) {
      uncertainty_[i][i] = scale[i] * scale[i];
      drift_[i] = drift_share * drift_share * uncertainty_[i][i];
    }
  }
  const double foreseen = this->ms(work);
  const double seen = foreseen > 0 ? std::min(ms, surprise_most * foreseen) : ms;
  // Errors count relative to the step: one of 10 ms tells as much as one of 5 s.
  auto x = amounts(work);
  for (auto& amount : x) amount /= seen;
  // No price is below zero: one that would be explains nothing more, and the others have to.
  while (!learn(x)) {
  }
}

// False: a price fell below zero and was taken out of `x`.
bool PrefillCost::learn(Vector& x) {
  const auto error = 1 - std::inner_product(x.begin(), x.end(), prices_.begin(), 0.0);
  Vector px{};
  double spread = noise * noise;
  for (std::size_t i = 0; i < x.size(); ++i) {
    for (std::size_t j = 0; j < x.size(); ++j) px[i] += uncertainty_[i][j] * x[j];
    spread += x[i] * px[i];
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (x[i] == 0 || prices_[i] + px[i] / spread * error >= 0) continue;
    prices_[i] = x[i] = 0;
    return false;
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    prices_[i] = std::max(0.0, prices_[i] + px[i] / spread * error);
    for (std::size_t j = 0; j < x.size(); ++j) uncertainty_[i][j] -= px[i] * px[j] / spread;
    if (x[i] > 0) uncertainty_[i][i] += drift_[i];
  }
  return true;
}

double PrefillCost::ms(const PrefillWork& work) const {
  const auto x = amounts(work);
  return std::inner_product(x.begin(), x.end(), prices_.begin(), 0.0);
}

double PrefillCost::wide_ms(std::int64_t count, std::int64_t done) const {
  const auto work = PrefillWork::of(count, done);
  const auto doubt = std::sqrt(uncertainty_[wide_cell][wide_cell]);
  return ms(work) - std::min(doubt, prices_[wide_cell]) * work.wide_cells;
}

double PrefillCost::ms_per_token() const {
  return prices_[token] + prices_[wide_cell] * usual_context;
}

// n tokens take each·n + cell_ms·n²/2.
std::int64_t PrefillCost::tokens_at(double ms, double cell_ms, std::int64_t done) const {
  const double left = ms - prices_[prompt];
  const double each = prices_[token] + cell_ms * (static_cast<double>(done) + 0.5);
  if (left <= 0 || each <= 0) return 0;
  return static_cast<std::int64_t>(2 * left / (each + std::sqrt(each * each + 2 * cell_ms * left)));
}

std::int64_t PrefillCost::tokens_in(double ms, std::int64_t done) const {
  if (!known_) return std::numeric_limits<std::int64_t>::max();
  const auto wide = tokens_at(ms, prices_[wide_cell], done);
  const auto from = wide_from_tokens(done);
  return wide >= from ? wide : std::min(tokens_at(ms, prices_[narrow_cell], done), from - 1);
}

void StepCost::observe(std::int32_t decode_rows, const PrefillWork& work, double ms) {
  assert(decode_rows >= 0 && static_cast<std::size_t>(decode_rows) <= limits::slots_max);
  if (work.tokens > 0) return prefill_.observe(work, std::max(0.0, ms - decode_ms(decode_rows)));
  auto& mean = decode_ms_[static_cast<std::size_t>(decode_rows)];
  mean = mean == 0 ? ms : mean + decode_weight * (ms - mean);
}

double StepCost::decode_ms(std::int32_t decode_rows) const {
  // The nearest count seen so far stands in for one that was not.
  for (std::int32_t distance = 0; distance <= static_cast<std::int32_t>(limits::slots_max);
       ++distance) {
    for (const auto rows : {decode_rows - distance, decode_rows + distance}) {
      if (rows < 1 || static_cast<std::size_t>(rows) > limits::slots_max) continue;
      const double seen = decode_ms_[static_cast<std::size_t>(rows)];
      if (seen > 0) return decode_rows == 0 ? 0 : seen;
    }
  }
  return 0;
}

}  // namespace llorch
