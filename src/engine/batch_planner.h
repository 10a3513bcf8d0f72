// Decides which tokens go into the next llama_decode: one for every decoding slot, then as much
// prefill as fits the time left to the inter-token target. Pure: no clock, no llama.h.
// Threads: belongs to the engine thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/step_cost.h"

namespace llorch {

enum class SlotPhase { idle, prefill, decode, parked };

// One busy slot as the planner sees it.
struct SlotView {
  std::int32_t slot = 0;
  SlotPhase phase = SlotPhase::idle;
  std::int64_t prefill_left = 0;  // tokens of the prompt not evaluated yet, > 0 in prefill
  std::int64_t evaluated = 0;     // tokens whose cells the slot holds
  double waited_ms = 0;           // since the job got its slot
  bool deterministic = false;     // runs in a batch of its own, in chunks of a fixed size
};

struct PlannedRow {
  std::int32_t slot = 0;
  std::int32_t tokens = 0;  // 1 for a decoding slot
  bool operator==(const PlannedRow&) const = default;
};

struct PlannerOptions {
  std::int32_t batch_tokens_max = 512;  // rows of one llama_decode
  double itl_target_ms = 150;           // no decoding slot should wait longer for its next token
};

// Prefill of a deterministic job is always cut at the same borders.
inline constexpr std::int32_t deterministic_chunk_tokens = 32;
// Less than this a step makes prefill crawl: each step also pays for its graph.
inline constexpr std::int32_t prefill_tokens_min = 8;
// With fewer the passes over the weights and over the cells of a full context are most of the step:
// it may last so many times as long, as the target or as one with the least of the prompt in it.
inline constexpr std::int64_t good_chunk_tokens = 33;
inline constexpr double step_stretch = 1.6;
// A prompt that nobody waits behind still comes in steps of about this long: a cancel takes effect
// between two steps, and a slow machine must not take half a minute for one.
inline constexpr double solo_step_ms_max = 5'000;
inline constexpr std::int32_t solo_tokens_first = 128;  // before the machine's speed is known

class BatchPlanner {
 public:
  explicit BatchPlanner(PlannerOptions options) : options_(options) {}

  // Rows of the next batch by ascending slot; empty when no slot can go on. When the batch holds a
  // deterministic slot it holds that slot alone; those take turns with the shared batch.
  // Shape: `slots` by ascending slot. Lifetime of the result: until the next call.
  std::vector<PlannedRow>& plan(std::span<const SlotView> slots, const StepCost& cost);

 private:
  void plan_shared(std::span<const SlotView> slots, const StepCost& cost);
  std::int64_t chunk_of(const SlotView& s, double left_ms, bool first,
                        const PrefillCost& cost) const;
  void add_prompts(double left_ms, std::int64_t room, const PrefillCost& cost);
  double prefill_ms(std::int32_t decode_rows, std::int32_t solo_rows, const StepCost& cost) const;

  PlannerOptions options_;
  std::int32_t last_solo_ = -1;  // the slot of the last batch run alone
  bool shared_next_ = true;
  std::vector<PlannedRow> rows_;          // of the step that is planned
  std::vector<const SlotView*> waiting_;  // whose prompts it may compute, the next one first
};

}  // namespace llorch
