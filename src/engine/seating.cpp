#include "engine/seating.h"

#include <algorithm>
#include <cassert>
#include <span>

#include "engine/prefix_cache.h"

namespace llorch {
namespace {

constexpr double copy_weight = 0.25;  // of the running mean
// Read, written, and later read again by the next one: twice is the least a copy costs.
constexpr double copies = 2;
constexpr double steps_foreseen = 32;  // answers may end long before their limit

std::span<const Token> evaluated_tokens(const Run& run) {
  return std::span(run.tokens).first(static_cast<std::size_t>(run.evaluated));
}

bool open_to(const Slot& slot, const Run& run) {
  return slot.scope == run.request.cache_scope && !run.request.deterministic &&
         !(slot.run && slot.run->request.deterministic);
}

bool busy(const std::vector<Slot>& slots, std::size_t index) {
  return index < slots.size() && slots[index].run;
}

// Whether a job there would be computed in one piece with the busy slots.
bool beside_the_busy(const std::vector<Slot>& slots, std::size_t index) {
  const bool nobody = std::ranges::none_of(slots, [](const auto& slot) { return !!slot.run; });
  return nobody || busy(slots, index + 1) || (index > 0 && busy(slots, index - 1));
}

}  // namespace

void CopyCost::observe(std::int64_t tokens, double ms) {
  if (tokens <= 0) return;
  const double each = ms / static_cast<double>(tokens);
  ms_per_token_ = ms_per_token_ == 0 ? each : ms_per_token_ + copy_weight * (each - ms_per_token_);
}

double CopyCost::copy_ms(std::int64_t tokens) const {
  return copies * static_cast<double>(tokens) * ms_per_token_;
}

bool CopyCost::pays(std::int64_t gained, std::int64_t tokens, double prefill_ms_per_token) const {
  if (gained < cached_tokens_least) return false;
  if (ms_per_token_ == 0 || prefill_ms_per_token == 0) return true;
  return static_cast<double>(gained) * prefill_ms_per_token > copy_ms(tokens);
}

Seat choose_seat(const std::vector<Slot>& slots, const Run& run, const SeatView& view,
                 const CopyCost& copy) {
  // At least one token must be evaluated: its logits give the first token of the answer.
  const auto most = static_cast<std::int64_t>(run.tokens.size()) - 1;
  Seat resident{.slot = -1};
  Seat other;
  std::int32_t lowest = -1;
  const auto better = [&](std::int64_t shared, std::int64_t tokens) {
    return shared > other.cached_tokens && shared >= resident.cached_tokens + cached_tokens_least &&
           copy.pays(shared - resident.cached_tokens, tokens, view.prefill_ms_per_token);
  };
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const auto& slot = slots[i];
    const auto index = static_cast<std::int32_t>(i);
    if (!slot.run && lowest < 0) lowest = index;
    if (slot.run || !open_to(slot, run)) continue;
    const auto shared = std::min(most, shared_tokens(slot.resident, run.tokens));
    if (shared < cached_tokens_least || shared <= resident.cached_tokens) continue;
    resident = {index, shared, CellSource::resident, index};
  }
  assert(lowest >= 0);
  const auto snapshot = std::min(most, view.snapshot_shared);
  if (better(snapshot, view.snapshot_tokens)) other = {lowest, snapshot, CellSource::snapshot, -1};
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const auto& slot = slots[i];
    if (!view.copies || !slot.run || !open_to(slot, run)) continue;
    const auto shared = std::min(most, shared_tokens(evaluated_tokens(*slot.run), run.tokens));
    if (!better(shared, slot.run->evaluated)) continue;
    other = {lowest, shared, CellSource::busy, static_cast<std::int32_t>(i)};
  }
  if (other.source != CellSource::none) return other;
  if (resident.source == CellSource::none) return {.slot = lowest};
  const bool apart = !beside_the_busy(slots, static_cast<std::size_t>(resident.slot)) &&
                     beside_the_busy(slots, static_cast<std::size_t>(lowest));
  const auto tokens = slots[static_cast<std::size_t>(resident.slot)].resident.size();
  if (view.copies && apart &&
      copy.pays(resident.cached_tokens, static_cast<std::int64_t>(tokens),
                view.prefill_ms_per_token)) {
    resident.slot = lowest;
  }
  return resident;
}

std::optional<SlotMove> choose_move(const std::vector<Slot>& slots, const CopyCost& copy,
                                    double decode_ms) {
  std::size_t lowest = slots.size();
  std::size_t highest = 0;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (!slots[i].run) continue;
    lowest = std::min(lowest, i);
    highest = i;
  }
  const auto* const run = highest > lowest ? slots[highest].run.get() : nullptr;
  if (run == nullptr || !run->decoding() || run->request.deterministic) return std::nullopt;
  auto gap = lowest;
  while (gap < highest && slots[gap].run) ++gap;
  if (gap == highest) return std::nullopt;
  // Computed apart it costs about a third of a step more, for as long as it goes on.
  if (copy.copy_ms(run->evaluated) > steps_foreseen * decode_ms / 3) return std::nullopt;
  return SlotMove{static_cast<std::int32_t>(highest), static_cast<std::int32_t>(gap)};
}

Leader choose_leader(const std::vector<Slot>& slots, const Run& run, std::int64_t cached) {
  Leader best;
  for (const auto& slot : slots) {
    if (!slot.run || slot.run->phase != SlotPhase::prefill || !open_to(slot, run)) continue;
    const auto shared = std::min(static_cast<std::int64_t>(run.tokens.size()) - 1,
                                 shared_tokens(slot.run->tokens, run.tokens));
    if (shared <= best.fork || shared < cached + awaited_tokens_least) continue;
    if (slot.run->evaluated >= shared) continue;  // there already: choose_seat() knows it
    best = {slot.run, shared};
  }
  return best;
}

}  // namespace llorch
