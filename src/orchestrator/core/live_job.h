// One job inside the decision machine. Only core*.cpp look in here.
#pragma once

#include <set>
#include <string>

#include "orchestrator/core/core.h"

namespace llorch {

inline constexpr double output_weight = 2;  // a generated token costs about two of a prompt

struct Core::Job {
  JobSpec spec;
  JobStatus status = JobStatus::queued;
  Millis accepted_at_ms = 0;
  Millis queued_at_ms = 0;   // when it last began to wait
  Millis not_before_ms = 0;  // backoff
  Millis dispatched_at_ms = 0;
  Millis progress_at_ms = 0;
  std::string worker_id;      // empty: not at a worker
  std::uint32_t attempt = 0;  // the one at worker_id
  std::uint32_t next_attempt = 0;
  unsigned failures = 0;
  bool moved = false;              // it has left a worker without an end
  std::set<std::string> avoid;     // workers that failed it
  std::set<std::string> refused;   // external servers that will not have it: never again
  std::string tokenizer_hash;      // of the worker that made tokens_out
  std::int64_t prompt_tokens = 0;  // exact, once a worker has said so
  std::int64_t tokens_out = 0;
  std::int64_t context_needed = 0;  // it was too long for a smaller one
  std::int64_t prompt_done = 0;
  std::uint64_t engine_step = 0;
  Millis first_token_at_ms = 0;   // of this attempt; 0: none yet
  std::int64_t first_tokens = 0;  // tokens_out at that time
  Millis tokens_at_ms = 0;        // when tokens_out last grew
  PrefixIndex::Expected prefix;   // what its worker was thought to have of its prompt
  double expected_out = 1;
  double prefill_left = 0, decode_left = 0;  // its share of the worker's sums
  double charged = 0;
  std::optional<std::int64_t> admitted_depth;  // should_admit was told; until it is placed

  bool at_worker() const { return !worker_id.empty(); }
};

}  // namespace llorch
