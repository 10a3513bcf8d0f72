// One decision as it was made, with everything the policy was shown: what replay asks again.
// Threads: any; plain values and pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/policy.h"
#include "protocol/field_reader.h"

namespace llorch {

// PolicyJob and PolicyWorker that own their texts.
struct RecordedJob {
  std::string id, model, tenant, session_id;
  Priority priority = Priority::interactive;
  std::int64_t prompt_tokens_estimate = 0;
  std::int64_t max_tokens = 0;
  double temperature = 1;
  std::int64_t age_ms = 0;
  std::uint32_t attempt = 0;
  bool operator==(const RecordedJob&) const = default;
};
struct RecordedWorker {
  std::string id, host, model, backend, status = "healthy";
  std::int32_t slots_total = 1;
  std::int32_t slots_free = 1;
  std::int64_t queue_depth = 0;
  std::int64_t cached_tokens = 0;
  double cost_ms = 0;
  double prefill_tokens_per_second = 0;
  double decode_tokens_per_second = 0;
  std::int64_t memory_free_bytes = 0;
  bool operator==(const RecordedWorker&) const = default;
};

struct DecisionRecord {
  // admit: what is admitted now and was refused; where it would go nobody knows.
  enum class Kind { worker, wait, reject, admit, retry, give_up };
  std::int64_t at_ms = 0;  // wall time
  RecordedJob job;
  std::vector<RecordedWorker> workers;
  Kind kind = Kind::worker;
  std::string worker_id;  // of Kind::worker; of a try that failed, where
  std::string reason;     // of Kind::reject
  std::string decided_by;
  std::optional<std::int64_t> queue_depth;  // should_admit was asked, just before
  std::optional<FailedTry> failed;          // should_retry was asked, and nothing else
  bool operator==(const DecisionRecord&) const = default;
};

// Of a text of a record or of a case written by hand.
inline constexpr TextRange record_text{.bytes_min = 0, .bytes_max = 4'096};

// Views into the record.
PolicyJob view_of(const RecordedJob& job);
PolicyWorker view_of(const RecordedWorker& worker);
PolicyError view_of(const FailedTry& failed);
std::vector<PolicyWorker> views_of(std::span<const RecordedWorker> workers);
// Shape: placement.kind is not built_in, placement.worker is within workers.
DecisionRecord make_record(std::int64_t at_ms, const PolicyJob& job,
                           std::span<const PolicyWorker> workers, const Placement& placement);

// The parts, as the cases of `llorch policy test` have them too. Absent fields keep their defaults.
RecordedJob read_job(FieldReader& fields);
RecordedWorker read_worker(FieldReader& fields);
std::vector<RecordedWorker> read_workers(FieldReader& parent, Violations& violations);

}  // namespace llorch
