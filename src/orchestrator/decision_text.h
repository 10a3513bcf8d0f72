// A decision as it is kept: JSON for explain, with everything that a policy was shown, so that
// another policy can be asked the same later. Never of the prompt.
// {"attempt":0,"waited_ms":3,"worker_id":"w-1","decided_by":"built-in cost","queue_depth":0,
//  "job":{"model":"m",…},"candidates":[{"worker_id":"w-1","cost_ms":…,…}]}
// of a try that failed {…,"worker_id":"w-1","retry":true,"tries":1,
//  "error":{"kind":"worker_lost","code":"WORKER_LOST","message":…},"job":{…},"candidates":[]}
// Threads: any. Pure.
#pragma once

#include <optional>
#include <string>

#include "orchestrator/core/decision.h"
#include "policy/decision_record.h"
#include "store/rows.h"

namespace llorch {

// Shape: at most limits::decision_candidates_max candidates, the chosen one and the cheapest;
// "candidates_left_out" counts the others.
std::string decision_text(const Decision& decision);
// nullopt: it is not one of ours, or was written by a llorch that kept less.
std::optional<DecisionRecord> record_of(const StoredDecision& stored);

}  // namespace llorch
