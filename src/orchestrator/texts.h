// Replies of the orchestrator about itself as JSON: jobs, workers, decisions.
// Threads: the io thread. Pure but for what it reads.
#pragma once

#include <string>

#include "orchestrator/service.h"
#include "orchestrator/task_list.h"

namespace llorch {

// {"job_id":…,"status":"running","model":…,"worker_id":…,"accepted_at":…,"tokens_out":3,…}
std::string job_text(const Orchestrator& service, const JobRecord& job);
// {"jobs":[…],"next_cursor":"…"}
std::string jobs_text(const Orchestrator& service, const TaskPage& page);
std::string worker_text(const Orchestrator& service, const std::string& id);
std::string workers_text(const Orchestrator& service);
std::string explain_text(const Orchestrator& service, const JobRecord& job,
                         const std::vector<std::string>& decisions);
// The first event of a task's stream.
std::string queued_frame(const Orchestrator& service, const JobRecord& job);
// ": queued position=3 eta_ms=1200\n\n"; empty when it does not wait.
std::string queued_comment(const Orchestrator& service, const JobRecord& job);

}  // namespace llorch
