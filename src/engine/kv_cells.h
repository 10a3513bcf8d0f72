// The KV cells of all slots and the snapshots beside them: puts what a job begins with into its
// slot and keeps what would be overwritten there. Threads: the engine thread.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/kv_disk.h"
#include "engine/llama_handles.h"
#include "engine/prefix_cache.h"
#include "engine/seating.h"

namespace llorch {

// Whether cells can be put back and cut off at any length: sliding windows have dropped some,
// recurrent states cannot be cut.
bool cells_can_move(const llama_model* model);

// Where cells are kept besides the context.
struct KvStorage {
  std::uint64_t snapshot_bytes_max = 0;  // of memory
  KvDisk* disk = nullptr;                // null: none
};

class KvCells {
 public:
  // Lifetime: shorter than the context's and the disk's. Neither memory nor a disk: only what lies
  // in idle slots is used again; so with models whose cells_can_move() is false.
  KvCells(llama_context* context, const llama_model* model, const KvStorage& storage);

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

  // Whether the job is to wait for a snapshot on disk that says more than `cached` tokens.
  bool awaits_disk(Run& run, std::int64_t cached, double prefill_ms_per_token, SteadyTime now);
  // What was read, for those of `runs` that wait for that file; null: it could not be used.
  void arrived(const std::string& file, const std::shared_ptr<const KvSnapshot>& snapshot,
               const std::list<std::shared_ptr<Run>>& runs, SteadyTime now);
  // A run just left the slot; what it computed stays.
  void left(std::int32_t slot, SteadyTime now);
  // Writes what lies in one idle slot to disk, when it was left alone for a while and reading it
  // takes at most `ms_max` from the jobs beside it. Between two decodes.
  void keep_on_disk(const std::vector<Slot>& slots, double ms_max, SteadyTime now);
  // Whether keep_on_disk() has something left to do.
  bool has_unwritten() const;
  // At the end: all that lies in slots and in memory goes to the disk, as far as time allows.
  void keep_all_on_disk(const std::vector<Slot>& slots);
  std::uint64_t restored_total() const { return restored_total_; }

 private:
  void keep(const Slot& slot, std::int32_t index, std::int64_t reused, SteadyTime now);
  KvState read(std::int32_t slot, std::int64_t tokens);
  bool write(std::int32_t slot, std::int64_t tokens, std::span<const std::byte> state);
  bool copy(const std::vector<Slot>& slots, const Run& run, const Seat& seat, SteadyTime now);
  // Tokens that the job begins with and the snapshot that came for it holds.
  static std::int64_t arrived_tokens(const Run& run);
  bool write_arrived(const Run& run, const Seat& seat);
  void write_to_disk(const Slot& slot, std::int32_t index);

  llama_context* const context_;
  const bool cuts_;
  const bool copies_;
  PrefixCache cache_;
  CopyCost copy_cost_;
  KvDisk* const disk_;
  CopyCost disk_cost_;
  std::map<std::string, SteadyTime> asked_;  // files on their way, since when: each is read once
  std::vector<std::optional<SteadyTime>> unwritten_;  // per slot: since when it is left alone
  std::uint64_t restored_total_ = 0;
};

}  // namespace llorch
