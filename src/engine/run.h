// One job inside the engine, from submit to its last event, and the slot it sits in.
// Threads: the engine thread, but for `request` and `outbox`, which never change.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/answer.h"
#include "engine/batch_planner.h"
#include "engine/outbox.h"
#include "engine/prefix_cache.h"
#include "engine/speculation.h"

namespace llorch {

// A job that only needs a slot: made on the prepare thread, so that neither a grammar nor a long
// resume holds up the engine.
struct ReadyRun {
  std::vector<Token> prompt;
  std::unique_ptr<Answer> answer;  // has taken over the job's resume_tokens
  std::optional<Ended> end;        // those were the whole answer: no slot is needed
};

// Errors: as prepare(), and Answer::resume().
Result<std::unique_ptr<ReadyRun>> make_ready(const JobRequest& job, const PrepareContext& context);

// What a job asked of the snapshots on disk, once at most.
struct DiskWait {
  std::optional<SteadyTime> until;  // it asked; then it goes on without
  std::string file;                 // on its way; empty: not asked for yet, or arrived
  bool over = false;
  std::shared_ptr<const KvSnapshot> snapshot;
};

struct Run {
  Run(JobRequest asked, std::shared_ptr<Outbox> box)
      : request(std::move(asked)), outbox(std::move(box)) {}

  const JobRequest request;
  const std::shared_ptr<Outbox> outbox;
  const SteadyTime submitted_at = std::chrono::steady_clock::now();

  bool over = false;                // its last event is pushed
  std::unique_ptr<ReadyRun> ready;  // waits for a slot; null before and after

  // Once it is prepared:
  std::vector<Token> tokens;   // prompt, then answer
  std::weak_ptr<Run> awaited;  // the job whose prefill it waits for, and up to which token
  std::int64_t awaited_tokens = 0;
  DiskWait disk;

  // Once it has a slot:
  std::int32_t slot = -1;
  SlotPhase phase = SlotPhase::idle;
  std::int64_t prompt_tokens = 0;
  std::int64_t evaluated = 0;      // tokens whose KV cells exist
  std::int64_t cached_tokens = 0;  // of the prompt, not computed for this job
  std::unique_ptr<Answer> answer;
  Speculation speculation;
  std::optional<TokenOut> parked;   // refused by a full outbox
  std::optional<Ended> parked_end;  // follows it
  SteadyTime seated_at;
  SteadyTime first_token_at;
  SteadyTime progress_told_at;

  bool decoding() const { return phase == SlotPhase::decode; }
  // Tokens to evaluate before the next one can be drawn.
  std::int64_t left() const { return static_cast<std::int64_t>(tokens.size()) - evaluated; }
};

}  // namespace llorch
