#include "engine/run.h"

#include <algorithm>
#include <cassert>
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

Seat choose_seat(const std::vector<Slot>& slots, const std::vector<Token>& tokens,
                 const std::string& scope, bool deterministic, std::int64_t least) {
  Seat lowest{.slot = -1};
  Seat best;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const auto& slot = slots[i];
    if (slot.run) continue;
    if (lowest.slot < 0) lowest.slot = static_cast<std::int32_t>(i);
    if (deterministic || slot.scope != scope) continue;
    const auto end =
        std::mismatch(slot.resident.begin(), slot.resident.end(), tokens.begin(), tokens.end());
    // At least one token must be evaluated: its logits give the first token of the answer.
    const auto shared = std::min<std::int64_t>(end.first - slot.resident.begin(),
                                               static_cast<std::int64_t>(tokens.size()) - 1);
    if (shared > best.cached_tokens) best = {static_cast<std::int32_t>(i), shared};
  }
  assert(lowest.slot >= 0);
  return best.cached_tokens >= least ? best : lowest;
}

}  // namespace llorch
