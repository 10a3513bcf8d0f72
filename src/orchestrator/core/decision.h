// Why a job went where it went: kept for explain and for replay. Pure values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/core/job.h"

namespace llorch {

// One worker that was offered, with what the built-in cost saw in it.
struct Candidate {
  std::string worker_id, host, backend;
  std::int32_t slots_total = 0, slots_free = 0;
  std::int64_t queue_depth = 0;
  std::int64_t cached_tokens = 0;
  double wait_ms = 0, prefill_ms = 0, decode_ms = 0;
  double external_ms = 0;   // of a server that is not ours: so that ours come first
  double displaced_ms = 0;  // what others will have to compute again, because this takes its place
  double prefill_tokens_per_second = 0, decode_tokens_per_second = 0;  // as used; of its beats
  std::int64_t memory_free_bytes = 0;

  double cost_ms() const { return wait_ms + prefill_ms + decode_ms + displaced_ms + external_ms; }
};

// What a policy is told of the job, beside what the decision itself says.
struct DecisionJob {
  std::string model, tenant, session_id;
  Priority priority = Priority::interactive;
  std::int64_t prompt_tokens_estimate = 0;
  std::int64_t max_tokens = 0;
  double temperature = 1;
};

struct Decision {
  enum class Kind { placed, rejected, retried, given_up };
  Kind kind = Kind::placed;
  JobId job;
  DecisionJob of;
  std::uint32_t attempt = 0;
  Millis at_ms = 0;
  Millis waited_ms = 0;               // since it was accepted
  std::vector<Candidate> candidates;  // none where no placement was asked for
  std::string worker_id;              // that got it, or whose try failed
  std::string decided_by;             // "built-in cost", "orchestration.rhai:12"
  std::string reason;
  std::optional<std::int64_t> queue_depth;  // the policy was asked to admit it, just before
  std::optional<FailedTry> failed;          // of retried and given_up
};

}  // namespace llorch
