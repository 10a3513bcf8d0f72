// Carries one job from its admission to the last byte of its reply, streamed or whole.
// Threads: the io thread. Lifetime: until the engine has ended the job, client or no client.
#pragma once

#include <memory>
#include <string>

#include "protocol/job.h"
#include "worker/call.h"
#include "worker/job_encoder.h"

namespace llorch {

// Admits the job, submits it and answers the call with what `encoder` makes of its events.
// Errors, as replies: conflict, queue_full, draining, and those of Engine::submit() while the
// headers wait for the first event; later ones end the stream in-band.
Task<void> run_job(Call& call, JobRequest job, std::unique_ptr<JobEncoder> encoder);
// Answers a job that cannot begin, and counts it.
Task<void> refuse_job(Call& call, const Error& error);

}  // namespace llorch
