// The choices an operator may change: whether a job is admitted, which worker gets it, whether it
// is tried again. The orchestrator asks synchronously; whatever a policy answers, the built-in one
// decides where the answer does not stand.
// Threads: the orchestrator's io thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace llorch {

enum class Priority { interactive, batch };  // spelled as on the wire
std::string_view wire_name(Priority priority);
std::optional<Priority> priority_from_wire(std::string_view name);

// A job as a policy sees it. Views live as long as the call.
struct PolicyJob {
  std::string_view id;
  std::string_view model;
  Priority priority = Priority::interactive;
  std::string_view tenant;
  std::string_view session_id;
  std::int64_t prompt_tokens_estimate = 0;
  std::int64_t max_tokens = 0;
  double temperature = 1;
  std::int64_t age_ms = 0;
  std::uint32_t attempt = 0;
};

// A worker that could take the job. Views live as long as the call.
struct PolicyWorker {
  std::string_view id;
  std::string_view host;
  std::string_view model;
  std::string_view backend;
  std::string_view status;  // healthy; others are never offered
  std::int32_t slots_total = 1;
  std::int32_t slots_free = 0;
  std::int64_t queue_depth = 0;    // jobs there beyond its slots
  std::int64_t cached_tokens = 0;  // of this job's prompt, at most prompt_tokens_estimate
  double cost_ms = 0;              // the built-in cost: wait, prefill, decode
  double prefill_tokens_per_second = 0;
  double decode_tokens_per_second = 0;
  std::int64_t memory_free_bytes = 0;
};

// Why a try ended. kind: timeout, unreachable, overloaded, worker_lost, backend or internal.
struct PolicyError {
  std::string_view kind;
  std::string_view code;  // "WORKER_LOST"
  std::string_view message;
};

// The same, kept: it owns its texts.
struct FailedTry {
  std::string kind, code, message;
  std::uint32_t tries = 1;  // that have failed, this one among them
  bool operator==(const FailedTry&) const = default;
};

struct Placement {
  enum class Kind { built_in, worker, wait, reject };
  Kind kind = Kind::built_in;
  std::size_t worker = 0;  // index into the workers given, for Kind::worker
  std::string reason;      // for reject: told to the client
  std::string decided_by;  // for explain: "built-in cost", "orchestration.rhai:12"
};

struct Admission {
  enum class Kind { built_in, admit, reject };
  Kind kind = Kind::built_in;
  std::string reason;  // for reject: told to the client
};

class Policy {
 public:
  virtual ~Policy() = default;
  // Shape: workers is not empty; all of them serve the job's model and have room.
  virtual Placement schedule_job(const PolicyJob& job, std::span<const PolicyWorker> workers) = 0;
  virtual Admission should_admit(const PolicyJob& job, std::int64_t queue_depth) = 0;
  // nullopt: the built-in rule decides. Asked only where a retry is possible at all.
  // Shape: attempt counts the tries that have failed, this one included.
  virtual std::optional<bool> should_retry(const PolicyJob& job, std::uint32_t attempt,
                                           const PolicyError& error) = 0;
};

}  // namespace llorch
