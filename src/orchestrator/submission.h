// From a decoded request to a job: its record, and what the decision machine is told of it.
// Threads: the io thread.
#pragma once

#include <memory>
#include <string>

#include "orchestrator/keys/identity.h"
#include "orchestrator/service.h"
#include "protocol/openai_request.h"
#include "protocol/task_request.h"

namespace llorch {

struct Submission {
  std::shared_ptr<JobRecord> job;
  JobSpec spec;
};

// What the decision machine is told, from the record and the decoded request.
JobSpec spec_of(const JobRecord& job, const JobRequest& request, std::string capability);

Submission task_submission(const Orchestrator& service, const Identity& identity, TaskRequest task,
                           const std::string& correlation_id);
// `body` is the client's, taken as it is.
Submission openai_submission(const Orchestrator& service, const Identity& identity,
                             OpenAiRequest request, std::string body,
                             const std::string& correlation_id);
Submission embedding_submission(const Orchestrator& service, const Identity& identity,
                                const EmbeddingRequest& request, std::string body,
                                const std::string& correlation_id);

// No worker serves that model, or the caller may not use it: what is near of those it may, or that
// none is there at all. Errors: model_not_found, no_worker.
Result<void> check_model(const Orchestrator& service, const Identity& identity,
                         const std::string& model, const std::string& capability);

}  // namespace llorch
