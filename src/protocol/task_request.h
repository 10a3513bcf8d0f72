// The body of POST /v2/tasks: the fields of /execute that a client may give, and where to run it.
// {"model":"smollm2","prompt":"Hello","max_tokens":16,"priority":"batch","deadline_ms":60000}
// Threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "protocol/job.h"

namespace llorch {

struct TaskRequest {
  JobRequest job;  // without an id
  std::string model;
  bool batch = false;  // priority: batch; else interactive
  bool priority_given = false;
  std::string session_id;
  std::string tenant;
  std::optional<std::int64_t> deadline_ms;  // from acceptance
};

// Unknown fields are refused. Errors: invalid_request with every violation, too_large.
Result<TaskRequest> decode_task(std::string_view body);

}  // namespace llorch
