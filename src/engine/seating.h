// Where a job sits and whose KV cells it begins with: what an earlier job left in an idle slot, a
// snapshot, or what a job beside it has computed of the same prompt. Pure: no clock, no llama.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/run.h"

namespace llorch {

// What stays in a slot's KV cells after a job, for the next one with the same beginning.
struct Slot {
  std::shared_ptr<Run> run;     // null = idle
  std::vector<Token> resident;  // tokens in the cells while idle
  std::string scope;            // cache_scope of whoever left them, or sits there
};

enum class CellSource { none, resident, busy, snapshot };

struct Seat {
  std::int32_t slot = 0;
  std::int64_t cached_tokens = 0;  // of the job's, there after the cells are in place
  CellSource source = CellSource::none;
  std::int32_t from_slot = -1;  // resident, busy: where the cells are now
};

// A running comparison of copying a sequence's cells with computing them.
class CopyCost {
 public:
  void observe(std::int64_t tokens, double ms);
  // Brings it nearer to being tried, and so measured, again: it may have been a bad moment.
  void forget_some() { ms_per_token_ *= 0.9; }
  // What reading or writing so many takes; 0 = not known yet.
  double ms(std::int64_t tokens) const { return ms_per_token_ * static_cast<double>(tokens); }
  // Of reading and writing a sequence once; 0 = not seen yet.
  double copy_ms(std::int64_t tokens) const;
  // Whether to copy a sequence of `tokens` rather than to compute `gained` of them.
  bool pays(std::int64_t gained, std::int64_t tokens, double prefill_ms_per_token) const;

 private:
  double ms_per_token_ = 0;  // 0 = not seen yet
};

// What a choice rests on besides the slots. `snapshot_*`: the best snapshot for the job.
struct SeatView {
  bool copies = true;  // cells can be copied from slot to slot
  std::int64_t snapshot_shared = 0;
  std::int64_t snapshot_tokens = 0;
  double prefill_ms_per_token = 0;  // 0 = not known yet
};

// A shorter beginning is computed in less than a step.
inline constexpr std::int64_t cached_tokens_least = 16;
// A job waits for another's prefill only when that saves so much.
inline constexpr std::int64_t awaited_tokens_least = 64;

// The idle slot that a job takes, and its source. Without a source the lowest slot: only
// neighbours share a batch without splitting it. Shape: at least one slot is idle.
Seat choose_seat(const std::vector<Slot>& slots, const Run& run, const SeatView& view,
                 const CopyCost& copy);

// A decoding job and the idle slot between the busy ones that it had better sit in: jobs that ended
// have left gaps. nullopt: there are none, or a copy costs more than it saves.
struct SlotMove {
  std::int32_t from = 0;
  std::int32_t to = 0;
};
// Shape: `decode_ms` of a step of so many jobs, 0 = not seen yet.
std::optional<SlotMove> choose_move(const std::vector<Slot>& slots, const CopyCost& copy,
                                    double decode_ms);

// The job in prefill whose prompt begins like this one's, further than `cached` tokens that are
// there already: once it has computed them they are worth waiting for. `fork`: how many they share.
struct Leader {
  std::shared_ptr<Run> run;  // null = none
  std::int64_t fork = 0;
};
Leader choose_leader(const std::vector<Slot>& slots, const Run& run, std::int64_t cached);

}  // namespace llorch
