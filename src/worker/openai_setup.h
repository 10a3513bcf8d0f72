// What a generation in OpenAI's shape needs before it runs, asked directly or relayed: defaults
// of the model, the echoed prompt, the encoder of its reply. Threads: the io thread.
#pragma once

#include <memory>

#include "worker/call.h"
#include "worker/job_encoder.h"

namespace llorch {

// `options` says route, completion_id, created, stream, include_usage and relay; the rest is
// filled in from the job and the model. Errors: invalid_request (the model only embeds, or an
// echoed token is not in the vocabulary).
Task<Result<std::unique_ptr<JobEncoder>>> prepare_openai(const Call& call, Engine& engine,
                                                         JobRequest& job,
                                                         OpenAiReplyOptions options);

}  // namespace llorch
