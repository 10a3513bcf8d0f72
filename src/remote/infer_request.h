// Bodies that `llorch infer` sends and reads: a job for a worker, a task for orchestratord.
// Pure. Threads: any.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "remote/infer_options.h"

namespace llorch {

// POST /execute: {"job_id":"…","messages":[{"role":"user","content":"Hello"}],"max_tokens":20}
std::string worker_job_body(const InferOptions& options, const std::string& job_id);
// POST /v2/tasks: the same without job_id, with "model" and what only a task has.
std::string task_body(const InferOptions& options);
// The job_id of a 202. Errors: internal (none in it).
Result<std::string> task_id(std::string_view accepted);
// The one model of a GET /v1/models. Errors: no_worker (none), invalid_request (several: their
// names), internal (not a list).
Result<std::string> only_model(std::string_view models);

}  // namespace llorch
