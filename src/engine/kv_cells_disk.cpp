// The part of KvCells that deals with snapshots on disk.
#include <algorithm>
#include <chrono>
#include <utility>

#include "base/limits.h"
#include "engine/kv_cells.h"

namespace llorch {

using std::chrono::milliseconds;

std::int64_t KvCells::arrived_tokens(const Run& run) {
  const auto& snapshot = run.disk.snapshot;
  // The name of a file says no more than a hash of what is in it.
  if (!snapshot || snapshot->scope != run.request.cache_scope) return 0;
  return shared_tokens(snapshot->tokens, run.tokens);
}

bool KvCells::write_arrived(const Run& run, const Seat& seat) {
  const auto& snapshot = *run.disk.snapshot;
  const auto tokens = static_cast<std::int64_t>(snapshot.tokens.size());
  if (!write(seat.slot, tokens, snapshot.state.view())) return false;
  ++restored_total_;
  return true;
}

bool KvCells::awaits_disk(Run& run, std::int64_t cached, double prefill_ms_per_token,
                          SteadyTime now) {
  auto& wait = run.disk;
  if (disk_ == nullptr || run.request.deterministic || wait.over || wait.snapshot) return false;
  if (wait.until && now >= *wait.until) wait.over = true;
  if (wait.over) return false;
  if (!wait.file.empty()) return true;
  const auto most = static_cast<std::int64_t>(run.tokens.size()) - 1;
  if (most < cached + awaited_tokens_least) return false;
  if (!wait.until) wait.until = now + milliseconds(limits::kv_read_ms_max);
  if (!disk_->ready()) return true;
  const auto match = disk_->find(run.request.cache_scope, run.tokens);
  const auto gained = std::min(most, match.shared) - cached;
  if (gained < awaited_tokens_least ||
      !disk_cost_.pays(gained, match.tokens, prefill_ms_per_token)) {
    if (gained >= awaited_tokens_least) disk_cost_.forget_some();
    wait.over = true;
    return false;
  }
  if (!asked_.contains(match.name)) {
    if (!disk_->read(match.name)) return true;  // waits for its turn to ask
    asked_.emplace(match.name, now);
  }
  wait.file = match.name;
  return true;
}

void KvCells::arrived(const std::string& file, const std::shared_ptr<const KvSnapshot>& snapshot,
                      const std::list<std::shared_ptr<Run>>& runs, SteadyTime now) {
  const auto asked = asked_.extract(file);
  if (asked.empty()) return;  // the folder has been looked through
  for (const auto& run : runs) {
    if (run->disk.file != file) continue;
    run->disk.file.clear();
    run->disk.over = true;
    run->disk.snapshot = snapshot;
  }
  if (!snapshot) return;
  const auto tokens = static_cast<std::int64_t>(snapshot->tokens.size());
  disk_cost_.observe(tokens, elapsed_ms(asked.mapped(), now));
  // At once: a job that is ready only now may be seated before these, and would ask again.
  cache_.put(snapshot->scope, snapshot->tokens, snapshot->state, now);
}

void KvCells::left(std::int32_t slot, SteadyTime now) {
  if (disk_ != nullptr) unwritten_[static_cast<std::size_t>(slot)] = now;
}

bool KvCells::has_unwritten() const {
  return std::ranges::any_of(unwritten_, [](const auto& since) { return since.has_value(); });
}

void KvCells::write_to_disk(const Slot& slot, std::int32_t index) {
  const auto tokens = static_cast<std::int64_t>(slot.resident.size());
  auto state = read(index, tokens);
  if (state.size > 0) disk_->write({slot.scope, slot.resident, std::move(state)});
}

void KvCells::keep_on_disk(const std::vector<Slot>& slots, double ms_max, SteadyTime now) {
  if (disk_ == nullptr) return;
  const bool alone = std::ranges::none_of(slots, [](const auto& slot) { return !!slot.run; });
  for (std::size_t i = 0; i < slots.size(); ++i) {
    auto& since = unwritten_[i];
    if (!since || now - *since < milliseconds(limits::kv_idle_ms)) continue;
    const auto& slot = slots[i];
    const auto index = static_cast<std::int32_t>(i);
    if (slot.run || !disk_->wants(slot.scope, slot.resident)) {
      since.reset();
      continue;
    }
    const auto ms = copy_cost_.ms(static_cast<std::int64_t>(slot.resident.size()));
    if (!alone && (ms == 0 || ms > ms_max)) continue;
    if (!disk_->has_room(llama_state_seq_get_size(context_, index))) {
      since = now;  // looked at again as late as one that was just left
      continue;
    }
    since.reset();
    return write_to_disk(slot, index);
  }
}

void KvCells::keep_all_on_disk(const std::vector<Slot>& slots) {
  if (disk_ == nullptr) return;
  const auto deadline = std::chrono::steady_clock::now() + milliseconds(limits::kv_flush_ms);
  disk_->hurry(deadline);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const auto& slot = slots[i];
    const auto index = static_cast<std::int32_t>(i);
    if (!unwritten_[i] || !disk_->wants(slot.scope, slot.resident)) continue;
    if (disk_->wait_for_room(llama_state_seq_get_size(context_, index), deadline)) {
      write_to_disk(slot, index);
    }
  }
  for (auto& snapshot : cache_.all()) {
    if (!disk_->wants(snapshot.scope, snapshot.tokens)) continue;
    if (disk_->wait_for_room(snapshot.state.size, deadline)) disk_->write(std::move(snapshot));
  }
}

}  // namespace llorch
