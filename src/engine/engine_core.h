// The engine thread's state: which job sits where, and one step of all of them. No thread of its
// own and no lock: LlamaEngine calls it from the engine thread.
// Lifetime: shorter than the LoadedModel's.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <span>
#include <vector>

#include "engine/batch_planner.h"
#include "engine/engine.h"
#include "engine/kv_cells.h"
#include "engine/loaded_model.h"
#include "engine/prefill_rate.h"
#include "engine/run.h"
#include "engine/step_trace.h"

namespace llorch {

struct CoreOptions {
  double itl_target_ms = 150;
  std::int32_t draft_tokens = 0;  // guessed at most in one step
  KvStorage kv;
};

class EngineCore {
 public:
  // `publish` is called when a job got its slot or left, before the event that says so can be
  // seen: figures published there never lag behind what a client knows.
  // `trace` may be null.
  EngineCore(const LoadedModel& loaded, const CoreOptions& options, std::function<void()> publish,
             std::unique_ptr<StepTrace> trace);

  void add(std::shared_ptr<Run> run);  // accepted, being prepared
  void prepared(const std::shared_ptr<Run>& run, Result<std::unique_ptr<ReadyRun>> ready);
  void cancel(const std::shared_ptr<Outbox>& outbox);
  // What KvDisk read; null: it could not be used.
  void arrived(const std::string& file, const std::shared_ptr<const KvSnapshot>& snapshot);
  // Cancels all jobs and keeps on disk what they left.
  void finish();

  // Seats who can be, retries parked slots, runs one llama_decode. False: there is nothing to do
  // until something is posted.
  bool step();
  bool has_jobs() const { return !runs_.empty(); }
  // Whether step() finds something to do later without a post: called again after a while.
  bool has_pending() const;
  // What load() shows, but for the memory.
  EngineLoad snapshot() const;

 private:
  void seat_waiting();
  void seat(const std::shared_ptr<Run>& run, const Seat& seat);
  static bool awaits(Run& run);
  bool await_leader(Run& run, std::int64_t cached_tokens);
  void close_gap();
  void unpark();
  std::span<const SlotView> look(SteadyTime now);
  void end_wait();
  void add_draft(std::vector<PlannedRow>& rows);
  void fill_batch(const std::vector<PlannedRow>& rows);
  bool decode_batch(const std::vector<PlannedRow>& rows);
  void after_decode(const std::vector<PlannedRow>& rows, SteadyTime now);
  void draw_token(Run& run, std::int32_t output, SteadyTime now);
  void draw_drafted(Run& run, const PlannedRow& row, SteadyTime now);
  void deliver(Run& run, std::optional<TokenOut> token, std::optional<Ended> ended);
  void end_without_slot(Run& run, ReadyRun ready);
  void tell_started(Run& run);
  void tell_progress(Run& run, SteadyTime now);
  static JobSpan span_of(const Run& run, SteadyTime now, std::int64_t tokens_out);
  void end(Run& run, Ended ended);
  void fail_run(Run& run, Error error);
  void leave(Run& run, JobEvent last);
  void release(Run& run);
  StepShape shape_of(const std::vector<PlannedRow>& rows) const;
  void measure(const StepShape& shape, const StepTimes& times, std::uint64_t tokens_drawn);

  const LoadedModel& loaded_;
  llama_context* const context_;
  const std::function<void()> publish_;
  const std::unique_ptr<StepTrace> trace_;
  const double itl_target_ms_;
  BatchPlanner planner_;
  KvCells cells_;
  const std::int32_t draft_tokens_;
  bool drafting_ = false;         // the step is of one job whose next tokens are guessed
  std::span<const Token> draft_;  // the guess, maybe empty
  StepCost cost_;
  DraftCost draft_cost_;
  Batch batch_;
  std::vector<Slot> slots_;
  std::list<std::shared_ptr<Run>> runs_;   // every run that is not over, oldest first
  std::vector<SlotView> views_;            // of the step that is planned
  std::vector<std::int32_t> output_rows_;  // per slot: its row with logits in the batch, or -1
  EngineLoad totals_;                      // the counters, and since when it waits
  PrefillRate prefill_rate_;
};

}  // namespace llorch
