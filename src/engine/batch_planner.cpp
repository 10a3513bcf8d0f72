#include "engine/batch_planner.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <optional>

namespace llorch {
namespace {

constexpr double cost_weight = 0.25;  // of a running mean: follows a change within ~8 steps
// A waiting prefill gains on shorter ones as if this many of its tokens had been done each ms.
constexpr double ageing_tokens_per_ms = 0.2;

void blend(double& mean, double value) {
  mean = mean == 0 ? value : mean + cost_weight * (value - mean);
}

bool can_go_on(const SlotView& s) {
  return s.phase == SlotPhase::decode || s.phase == SlotPhase::prefill;
}

}  // namespace

void StepCost::observe(std::int32_t decode_rows, std::int32_t prefill_tokens, double ms) {
  assert(decode_rows >= 0 && static_cast<std::size_t>(decode_rows) <= limits::slots_max);
  if (prefill_tokens == 0) {
    blend(decode_ms_[static_cast<std::size_t>(decode_rows)], ms);
    return;
  }
  const double prefill_ms = std::max(0.0, ms - decode_ms(decode_rows));
  blend(prefill_ms_per_token_, prefill_ms / prefill_tokens);
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

// `solo_rows`: deterministic slots that decode, each in a batch of its own between two of these.
std::int32_t BatchPlanner::prefill_budget(std::int32_t decode_rows, std::int32_t solo_rows,
                                          const StepCost& cost) const {
  const auto room = options_.batch_tokens_max - decode_rows;
  const double per_token = cost.prefill_ms_per_token();
  const bool watched = decode_rows + solo_rows > 0;  // else full batches are cheapest
  if (per_token <= 0) return std::min(room, watched ? prefill_tokens_min : solo_tokens_first);
  const double left_ms =
      watched ? options_.itl_target_ms - cost.decode_ms(decode_rows) - solo_rows * cost.decode_ms(1)
              : solo_step_ms_max;
  const double fits = std::clamp(left_ms / per_token, 0.0, static_cast<double>(room));
  return std::min(room, std::max(prefill_tokens_min, static_cast<std::int32_t>(fits)));
}

std::vector<PlannedRow> BatchPlanner::plan_shared(std::span<const SlotView> slots,
                                                  const StepCost& cost) const {
  std::vector<PlannedRow> rows;
  std::vector<const SlotView*> waiting;
  std::int32_t solo_rows = 0;
  for (const auto& s : slots) {
    if (s.deterministic) {
      if (s.phase == SlotPhase::decode) ++solo_rows;
      continue;
    }
    if (s.phase == SlotPhase::decode) rows.push_back({s.slot, 1});
    if (s.phase == SlotPhase::prefill) waiting.push_back(&s);
  }
  // Shortest remaining first, so a short question is not stuck behind a book; ageing, so the book
  // is read in the end.
  const auto rank = [](const SlotView* s) {
    return static_cast<double>(s->prefill_left) - s->waited_ms * ageing_tokens_per_ms;
  };
  std::stable_sort(waiting.begin(), waiting.end(),
                   [&](const auto* a, const auto* b) { return rank(a) < rank(b); });
  auto budget = prefill_budget(static_cast<std::int32_t>(rows.size()), solo_rows, cost);
  for (const auto* s : waiting) {
    if (budget <= 0) break;
    auto take = static_cast<std::int32_t>(std::min<std::int64_t>(s->prefill_left, budget));
    if (take == s->prefill_left && take >= alone_from_tokens) --take;
    rows.push_back({s->slot, take});
    budget -= take;
  }
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.slot < b.slot; });
  return rows;
}

std::vector<PlannedRow> BatchPlanner::plan(std::span<const SlotView> slots, const StepCost& cost) {
  // The next deterministic slot after the last one that ran, in a circle.
  const SlotView* solo = nullptr;
  const SlotView* first_solo = nullptr;
  for (const auto& s : slots) {
    if (!s.deterministic || !can_go_on(s)) continue;
    if (first_solo == nullptr) first_solo = &s;
    if (solo == nullptr && s.slot > last_solo_) solo = &s;
  }
  auto shared = plan_shared(slots, cost);
  if (first_solo == nullptr || (shared_next_ && !shared.empty())) {
    // All deterministic slots run between two shared batches, so neither kind starves.
    shared_next_ = false;
    last_solo_ = -1;
    return shared;
  }
  if (solo == nullptr) {  // the circle is complete
    shared_next_ = true;
    last_solo_ = -1;
    if (!shared.empty()) return plan(slots, cost);
    solo = first_solo;
  }
  last_solo_ = solo->slot;
  const auto tokens = solo->phase == SlotPhase::decode
                          ? 1
                          : std::min<std::int64_t>(solo->prefill_left, deterministic_chunk_tokens);
  return {{solo->slot, static_cast<std::int32_t>(tokens)}};
}

}  // namespace llorch
