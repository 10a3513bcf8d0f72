#include "engine/batch_planner.h"

#include <algorithm>

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
// little, and in a full context by a tile at once.
std::int64_t BatchPlanner::chunk_of(const SlotView& s, double left_ms, bool first,
                                    const PrefillCost& cost) const {
  const auto fits = cost.tokens_in(left_ms, s.evaluated);
  if (!first || fits >= wide_from_tokens) return fits;
  const auto narrow = std::max<std::int64_t>(fits, prefill_tokens_min);
  const auto narrow_ms = cost.ms(PrefillWork::of(narrow, s.evaluated));
  const auto tile_ms = cost.tile_ms(s.evaluated);
  const auto streams_ms = options_.itl_target_ms - left_ms;
  const bool short_enough = streams_ms + tile_ms <=
                            tile_stretch * std::max(options_.itl_target_ms, streams_ms + narrow_ms);
  const bool pays = tile_ms * static_cast<double>(narrow) * tile_gain <=
                    narrow_ms * static_cast<double>(wide_from_tokens);
  return short_enough && pays ? wide_from_tokens : narrow;
}

void BatchPlanner::add_prompts(std::vector<PlannedRow>& rows,
                               std::span<const SlotView* const> waiting, double left_ms,
                               std::int64_t room, const PrefillCost& cost) const {
  for (const auto* s : waiting) {
    const auto most = std::min(room, s->prefill_left);
    auto take = std::min(most, chunk_of(*s, left_ms, s == waiting.front(), cost));
    if (take == s->prefill_left && take >= alone_from_tokens) --take;
    // Less is not worth its pass over the weights.
    if (take <= 0 || take < std::min<std::int64_t>(most, prefill_tokens_min)) break;
    rows.push_back({s->slot, static_cast<std::int32_t>(take)});
    left_ms -= cost.ms(PrefillWork::of(take, s->evaluated));
    room -= take;
  }
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
  const auto decode_rows = static_cast<std::int32_t>(rows.size());
  std::int64_t room = options_.batch_tokens_max - decode_rows;
  if (!cost.prefill().known()) {
    const bool watched = decode_rows + solo_rows > 0;
    room = std::min<std::int64_t>(room, watched ? prefill_tokens_min : solo_tokens_first);
  }
  add_prompts(rows, waiting, prefill_ms(decode_rows, solo_rows, cost), room, cost.prefill());
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
