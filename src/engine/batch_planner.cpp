#include "engine/batch_planner.h"

#include <algorithm>
#include <utility>

namespace llorch {
namespace {

// A waiting prefill gains on shorter ones as if this many of its tokens had been done each ms.
constexpr double ageing_tokens_per_ms = 0.2;

bool can_go_on(const SlotView& s) {
  return s.phase == SlotPhase::decode || s.phase == SlotPhase::prefill;
}

}  // namespace

// `solo_rows`: deterministic slots that decode, each in a batch of its own between two of these.
double BatchPlanner::prefill_ms(std::int32_t decode_rows, std::int32_t solo_rows,
                                const StepCost& cost) const {
  if (decode_rows + solo_rows == 0) return solo_step_ms_max;  // full batches are cheapest
  return options_.itl_target_ms - cost.decode_ms(decode_rows) - solo_rows * cost.decode_ms(1);
}

// How much of a prompt fits into `left_ms`. One that has nobody before it moves forward at least a
// little, and by a good part where that stretches the step no further than it may.
std::int64_t BatchPlanner::chunk_of(const SlotView& s, double left_ms, bool first,
                                    const PrefillCost& cost) const {
  const auto fits = cost.tokens_in(left_ms, s.evaluated);
  if (!first || fits >= good_chunk_tokens) return fits;
  const auto least = std::max<std::int64_t>(fits, prefill_tokens_min);
  const auto together = s.prefill_left - 1;  // the last one is computed alone
  const auto tile = wide_from_tokens(s.evaluated);
  if (together < std::min(tile, good_chunk_tokens)) return least;
  const auto streams_ms = options_.itl_target_ms - left_ms;
  const auto least_ms = cost.ms(PrefillWork::of(least, s.evaluated));
  const auto most_ms = step_stretch * std::max(options_.itl_target_ms, streams_ms + least_ms);
  // In even parts: a rest too short for a tile would take longer than one.
  const auto parts = std::max<std::int64_t>(1, together / good_chunk_tokens);
  for (const auto tokens : {(together + parts - 1) / parts, good_chunk_tokens, tile}) {
    if (tokens > together) continue;
    if (streams_ms + cost.wide_ms(tokens, s.evaluated) <= most_ms) return tokens;
  }
  return least;
}

void BatchPlanner::add_prompts(double left_ms, std::int64_t room, const PrefillCost& cost) {
  // Prompts that share a batch are computed as the longest of them.
  const bool long_one = std::ranges::any_of(waiting_, [&](const auto* s) {
    return s->evaluated + std::min(room, s->prefill_left) > long_cells;
  });
  const auto tiles_from = long_one ? tile_rows_long : tile_rows;
  for (const auto* s : waiting_) {
    const auto most = std::min(room, s->prefill_left);
    auto take = std::min(most, chunk_of(*s, left_ms, s == waiting_.front(), cost));
    // In a tile sums are added in another order. The last token, whose logits give the answer, is
    // left for a step of its own: it is computed as with all before it cached.
    if (take == s->prefill_left && take >= tiles_from) --take;
    // Less is not worth its pass over the weights.
    if (take <= 0 || take < std::min<std::int64_t>(most, prefill_tokens_min)) break;
    rows_.push_back({s->slot, static_cast<std::int32_t>(take)});
    left_ms -= cost.ms(PrefillWork::of(take, s->evaluated));
    room -= take;
  }
}

void BatchPlanner::plan_shared(std::span<const SlotView> slots, const StepCost& cost) {
  rows_.clear();
  waiting_.clear();
  std::int32_t solo_rows = 0;
  for (const auto& s : slots) {
    if (s.deterministic) {
      if (s.phase == SlotPhase::decode) ++solo_rows;
      continue;
    }
    if (s.phase == SlotPhase::decode) rows_.push_back({s.slot, 1});
    if (s.phase == SlotPhase::prefill) waiting_.push_back(&s);
  }
  // Shortest remaining first, so a short question is not stuck behind a book; ageing, so the book
  // is read in the end.
  const auto rank = [](const SlotView* s) {
    return static_cast<double>(s->prefill_left) - s->waited_ms * ageing_tokens_per_ms;
  };
  std::sort(waiting_.begin(), waiting_.end(), [&](const auto* a, const auto* b) {
    return std::pair(rank(a), a->slot) < std::pair(rank(b), b->slot);
  });
  const auto decode_rows = static_cast<std::int32_t>(rows_.size());
  std::int64_t room = options_.batch_tokens_max - decode_rows;
  if (!cost.prefill().known()) {
    const bool watched = decode_rows + solo_rows > 0;
    room = std::min<std::int64_t>(room, watched ? prefill_tokens_min : solo_tokens_first);
  }
  add_prompts(prefill_ms(decode_rows, solo_rows, cost), room, cost.prefill());
  std::sort(rows_.begin(), rows_.end(),
            [](const auto& a, const auto& b) { return a.slot < b.slot; });
}

std::vector<PlannedRow>& BatchPlanner::plan(std::span<const SlotView> slots, const StepCost& cost) {
  // The next deterministic slot after the last one that ran, in a circle.
  const SlotView* solo = nullptr;
  const SlotView* first_solo = nullptr;
  for (const auto& s : slots) {
    if (!s.deterministic || !can_go_on(s)) continue;
    if (first_solo == nullptr) first_solo = &s;
    if (solo == nullptr && s.slot > last_solo_) solo = &s;
  }
  plan_shared(slots, cost);
  if (first_solo == nullptr || (shared_next_ && !rows_.empty())) {
    // All deterministic slots run between two shared batches, so neither kind starves.
    shared_next_ = false;
    last_solo_ = -1;
    return rows_;
  }
  if (solo == nullptr) {  // the circle is complete
    shared_next_ = true;
    last_solo_ = -1;
    if (!rows_.empty()) return plan(slots, cost);
    solo = first_solo;
  }
  last_solo_ = solo->slot;
  const auto tokens = solo->phase == SlotPhase::decode
                          ? 1
                          : std::min<std::int64_t>(solo->prefill_left, deterministic_chunk_tokens);
  rows_.assign(1, {solo->slot, static_cast<std::int32_t>(tokens)});
  return rows_;
}

}  // namespace llorch
