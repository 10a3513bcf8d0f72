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

struct Run {
  Run(JobRequest asked, std::shared_ptr<Outbox> box)
      : request(std::move(asked)), outbox(std::move(box)) {}

  const JobRequest request;
  const std::shared_ptr<Outbox> outbox;

  bool over = false;                // its last event is pushed
  std::unique_ptr<ReadyRun> ready;  // waits for a slot; null before and after

  // Once it has a slot:
  std::int32_t slot = -1;
  SlotPhase phase = SlotPhase::idle;
  std::vector<Token> tokens;  // prompt, then answer
  std::int64_t prompt_tokens = 0;
  std::int64_t evaluated = 0;      // tokens whose KV cells exist
  std::int64_t cached_tokens = 0;  // of the prompt, found in the slot
  std::unique_ptr<Answer> answer;
  std::optional<TokenOut> parked;   // refused by a full outbox
  std::optional<Ended> parked_end;  // follows it
  SteadyTime seated_at;
  SteadyTime first_token_at;
  SteadyTime progress_told_at;

  bool decoding() const { return phase == SlotPhase::decode; }
  // Tokens to evaluate before the next one can be drawn.
  std::int64_t left() const { return static_cast<std::int64_t>(tokens.size()) - evaluated; }
};

// What stays in a slot's KV cells after a job, for the next one with the same beginning.
struct Slot {
  std::shared_ptr<Run> run;     // null = idle
  std::vector<Token> resident;  // tokens in the cells while idle
  std::string scope;            // cache_scope of whoever left them
};

// The idle slot that a job takes, and how many of its tokens are there already. Shape: at least one
// slot is idle. A hit shorter than `least` is not worth a less dense batch: the lowest slot wins.
struct Seat {
  std::int32_t slot = 0;
  std::int64_t cached_tokens = 0;
};
Seat choose_seat(const std::vector<Slot>& slots, const std::vector<Token>& tokens,
                 const std::string& scope, bool deterministic, std::int64_t least);

}  // namespace llorch
