#include "engine/kv_cells.h"

#include <utility>

#include "base/clock.h"
#include "base/log.h"

namespace llorch {

bool cells_can_move(const llama_model* model) {
  return !llama_model_is_recurrent(model) && !llama_model_is_hybrid(model) &&
         llama_model_n_swa(model) == 0;
}

KvCells::KvCells(llama_context* context, const llama_model* model, const KvStorage& storage)
    : context_(context),
      cuts_(cells_can_move(model)),
      copies_((storage.snapshot_bytes_max > 0 || storage.disk != nullptr) && cuts_),
      cache_(copies_ ? storage.snapshot_bytes_max : 0),
      disk_(copies_ ? storage.disk : nullptr),
      unwritten_(context == nullptr ? 0 : llama_n_seq_max(context)) {}

Seat KvCells::choose(const std::vector<Slot>& slots, const Run& run,
                     double prefill_ms_per_token) const {
  SeatView view{.copies = copies_, .prefill_ms_per_token = prefill_ms_per_token};
  if (copies_ && !run.request.deterministic) {
    const auto match = cache_.find(run.request.cache_scope, run.tokens);
    view.snapshot_shared = match.shared;
    view.snapshot_tokens = match.tokens;
    if (const auto arrived = arrived_tokens(run); arrived > match.shared) {
      view.snapshot_shared = arrived;
      view.snapshot_tokens = static_cast<std::int64_t>(run.disk.snapshot->tokens.size());
    }
  }
  return choose_seat(slots, run, view, copy_cost_);
}

void KvCells::clear(std::int32_t slot) {
  llama_memory_seq_rm(llama_get_memory(context_), slot, -1, -1);
}

bool KvCells::cut(std::int32_t slot, std::int64_t tokens) {
  const auto memory = llama_get_memory(context_);
  return llama_memory_seq_rm(memory, slot, static_cast<llama_pos>(tokens), -1) &&
         llama_memory_seq_pos_min(memory, slot) == 0 &&
         llama_memory_seq_pos_max(memory, slot) + 1 == tokens;
}

KvState KvCells::read(std::int32_t slot, std::int64_t tokens) {
  const auto begun = steady_now();
  const auto size = llama_state_seq_get_size(context_, slot);
  if (size == 0 || (!cache_.could_keep(size) && disk_ == nullptr)) return {};
  KvState state{std::make_shared_for_overwrite<std::byte[]>(size), size};
  auto* const to = reinterpret_cast<std::uint8_t*>(state.bytes.get());
  if (llama_state_seq_get_data(context_, to, size, slot) != size) return {};
  copy_cost_.observe(tokens, elapsed_ms(begun, steady_now()));
  return state;
}

bool KvCells::write(std::int32_t slot, std::int64_t tokens, std::span<const std::byte> state) {
  const auto begun = steady_now();
  const auto* const from = reinterpret_cast<const std::uint8_t*>(state.data());
  if (llama_state_seq_set_data(context_, from, state.size(), slot) != state.size()) {
    log_event(LogLevel::warn, "engine", "kv_restore_failed",
              {{"bytes", static_cast<std::int64_t>(state.size())}});
    return false;
  }
  copy_cost_.observe(tokens, elapsed_ms(begun, steady_now()));
  return true;
}

// What an idle slot holds beyond the `reused` tokens is overwritten next.
void KvCells::keep(const Slot& slot, std::int32_t index, std::int64_t reused, SteadyTime now) {
  const auto tokens = static_cast<std::int64_t>(slot.resident.size());
  if (!copies_ || tokens - reused < cached_tokens_least) return;
  const bool for_memory =
      cache_.could_keep(1) &&
      tokens - cache_.find(slot.scope, slot.resident).shared >= cached_tokens_least;
  const bool for_disk = unwritten_[static_cast<std::size_t>(index)] && disk_ != nullptr &&
                        disk_->wants(slot.scope, slot.resident);
  if (!for_memory && !for_disk) return;
  auto state = read(index, tokens);
  if (state.size == 0) return;
  if (for_disk) disk_->write({slot.scope, slot.resident, state});
  if (for_memory) cache_.put(slot.scope, slot.resident, std::move(state), now);
}

bool KvCells::copy(const std::vector<Slot>& slots, const Run& run, const Seat& seat,
                   SteadyTime now) {
  const auto& scope = run.request.cache_scope;
  if (seat.source == CellSource::snapshot) {
    if (arrived_tokens(run) >= seat.cached_tokens) return write_arrived(run, seat);
    const auto match = cache_.use(scope, run.tokens, now);  // keep() may have dropped it
    return match.shared >= seat.cached_tokens && write(seat.slot, match.tokens, match.state);
  }
  const auto& from = slots[static_cast<std::size_t>(seat.from_slot)];
  auto tokens = from.resident;
  if (from.run) {
    tokens = from.run->tokens;
    tokens.resize(static_cast<std::size_t>(from.run->evaluated));
  }
  const auto count = static_cast<std::int64_t>(tokens.size());
  auto state = read(seat.from_slot, count);
  if (state.size == 0 || !write(seat.slot, count, state.view())) return false;
  cache_.put(scope, std::move(tokens), std::move(state), now);
  return true;
}

void KvCells::close_gap(std::vector<Slot>& slots, double decode_ms, SteadyTime now) {
  const auto move = copies_ ? choose_move(slots, copy_cost_, decode_ms) : std::nullopt;
  if (!move) return;
  auto& from = slots[static_cast<std::size_t>(move->from)];
  auto& to = slots[static_cast<std::size_t>(move->to)];
  const auto tokens = from.run->evaluated;
  const auto state = read(move->from, tokens);
  if (state.size == 0) return;
  keep(to, move->to, 0, now);
  to.resident.clear();
  unwritten_[static_cast<std::size_t>(move->to)].reset();
  if (!write(move->to, tokens, state.view()) || !cut(move->to, tokens)) return clear(move->to);
  clear(move->from);
  to = std::exchange(from, {});
  to.run->slot = move->to;
}

std::int64_t KvCells::place(const std::vector<Slot>& slots, const Run& run, const Seat& seat,
                            SteadyTime now) {
  const bool in_place = seat.source == CellSource::resident && seat.from_slot == seat.slot;
  const auto& slot = slots[static_cast<std::size_t>(seat.slot)];
  keep(slot, seat.slot, in_place ? seat.cached_tokens : 0, now);
  unwritten_[static_cast<std::size_t>(seat.slot)].reset();
  const bool there = seat.source != CellSource::none && (in_place || copy(slots, run, seat, now));
  if (there && cut(seat.slot, seat.cached_tokens)) return seat.cached_tokens;
  clear(seat.slot);
  return 0;
}

}  // namespace llorch
