// The KV cells of all slots and the snapshots beside them: puts what a job begins with into its
// slot and keeps what would be overwritten there. Threads: the engine thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/llama_handles.h"
#include "engine/prefix_cache.h"
#include "engine/seating.h"

namespace llorch {

class KvCells {
 public:
  // Lifetime: shorter than the context's. `snapshot_bytes_max` = 0: only what lies in idle slots
  // is used again; so with models whose cells cannot be put back and cut off at any length
  // (sliding windows have dropped some, recurrent states cannot be cut).
  KvCells(llama_context* context, const llama_model* model, std::uint64_t snapshot_bytes_max);

  Seat choose(const std::vector<Slot>& slots, const Run& run, double prefill_ms_per_token) const;
  // Tokens of the run whose cells are in the chosen slot afterwards: what choose() said, or fewer.
  std::int64_t place(const std::vector<Slot>& slots, const Run& run, const Seat& seat,
                     SteadyTime now);
  // Moves a job into a gap between the busy slots; see choose_move().
  void close_gap(std::vector<Slot>& slots, double decode_ms, SteadyTime now);
  void clear(std::int32_t slot);
  // Whether cut() works at any length; where not, a token once evaluated stays.
  bool cuts() const { return cuts_; }
  // Drops the slot's cells after `tokens`. False: it does not hold exactly those now.
  bool cut(std::int32_t slot, std::int64_t tokens);
  bool copies() const { return copies_; }
  std::uint64_t snapshot_bytes() const { return cache_.bytes(); }

 private:
  void keep(const Slot& slot, std::int32_t index, std::int64_t reused, SteadyTime now);
  KvState read(std::int32_t slot, std::int64_t tokens);
  bool write(std::int32_t slot, std::int64_t tokens, std::span<const std::byte> state);
  bool copy(const std::vector<Slot>& slots, const Run& run, const Seat& seat, SteadyTime now);

  llama_context* const context_;
  const bool cuts_;
  const bool copies_;
  PrefixCache cache_;
  CopyCost copy_cost_;
};

}  // namespace llorch
