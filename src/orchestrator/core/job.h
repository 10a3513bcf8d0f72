// A job as the decision machine knows it: what placing and ordering need, never its text.
// Pure values. Times are milliseconds of one monotonic clock that comes in from outside.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "policy/policy.h"
#include "protocol/job_event.h"
#include "protocol/prefix_hash.h"

namespace llorch {

using Millis = std::int64_t;

enum class JobStatus { queued, dispatched, running, completed, failed, cancelled };
std::string_view wire_name(JobStatus status);
inline bool is_terminal(JobStatus status) {
  return status >= JobStatus::completed;
}

struct JobSpec {
  JobId id;
  std::string model;
  std::string tenant;
  std::string session_id;
  Priority priority = Priority::interactive;
  std::string capability = "execute";  // what a worker must be able to do
  std::int64_t prompt_bytes = 0;
  std::int64_t prompt_tokens_estimate = 0;
  std::int64_t max_tokens = 0;  // the most it may generate; 0: to the end of the context
  double temperature = 1;
  std::vector<PrefixHash> prefix_chain;
  std::optional<Millis> deadline_at_ms;  // ends with deadline_unmet
  // Of a job that was stored before a restart: how long ago, and how far it had come.
  Millis waited_ms = 0;
  std::uint32_t attempt = 0;
  std::int64_t tokens_out = 0;
  std::string tokenizer_hash;  // of the worker that made those tokens
  bool restored = false;       // accepted before: no admission, no capacity
};

// Why one attempt at a worker ended without the job's end.
enum class Failure { unreachable, worker_lost, stalled, overloaded, draining, backend, internal };
std::string_view policy_kind(Failure failure);

struct JobEnd {
  JobStatus status = JobStatus::completed;
  std::optional<Error> error;  // of a failed one
  StopReason stop_reason = StopReason::EOS;
};

}  // namespace llorch
