// The cases of `llorch policy test`: a question to a script, and the answer it is to give.
// {"name":"batch waits","now":"2026-01-05T09:30:00.000Z","job":{"priority":"batch"},
//  "workers":[{"id":"w-1","slots_free":0}],"expect":{"wait":true}}
// `expect` has one of: worker (an id), wait, reject (true or the reason), built_in, admit or retry
// (both true or false). With `workers` schedule_job is asked, with `error` should_retry, else
// should_admit. A file holds one case or a list of them.
// Threads: any; pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "policy/decision_record.h"
#include "policy/rhai_policy.h"

namespace llorch {

struct PolicyCase {
  std::string name;
  std::int64_t now_ms = 0;
  RecordedJob job;
  std::vector<RecordedWorker> workers;  // asks schedule_job
  std::int64_t queue_depth = 0;         // told to should_admit
  std::uint32_t attempt = 1;            // told to should_retry
  std::string error_kind, error_code, error_message;
  enum class Hook { schedule_job, should_admit, should_retry };
  Hook hook = Hook::schedule_job;
  std::string expected;  // "worker w-1", "wait", "reject", "reject: full", "built-in", "yes", "no"
};

// Errors: invalid_request with every violation, too_large.
Result<std::vector<PolicyCase>> decode_policy_cases(std::string_view text);

struct PolicyCaseResult {
  bool passed = false;
  std::string got;  // as PolicyCase::expected, or "failed: " and why
};

// Each case asks a script that is loaded for it alone, so none depends on another.
// Errors: those of RhaiPolicy::load().
Result<PolicyCaseResult> run_policy_case(const PolicyCase& wanted, std::string_view source,
                                         const ScriptLimits& limits = {});

}  // namespace llorch
