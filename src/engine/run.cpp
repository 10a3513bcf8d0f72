#include "engine/run.h"

#include <utility>

namespace llorch {

Result<std::unique_ptr<ReadyRun>> make_ready(const JobRequest& job, const PrepareContext& context) {
  auto prepared = prepare(job, context);
  if (!prepared) return fail(prepared.error());
  auto ready = std::make_unique<ReadyRun>();
  ready->prompt = prepared->prompt;
  ready->answer = std::make_unique<Answer>(job, std::move(*prepared), context.vocabulary);
  auto end = ready->answer->resume(job.resume_tokens);
  if (!end) return fail(end.error());
  ready->end = std::move(*end);
  return ready;
}

}  // namespace llorch
