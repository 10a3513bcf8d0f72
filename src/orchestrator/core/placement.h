// What it would cost to give a job to a worker: wait, uncached prefill, decode. Pure.
#pragma once

#include "orchestrator/core/decision.h"
#include "orchestrator/core/prefix_index.h"
#include "orchestrator/core/worker.h"

namespace llorch {

struct FleetRates {  // for workers that have not been measured yet
  double prefill_tokens_per_second = 500;
  double decode_tokens_per_second = 20;
  // Of the slowest: what an external server is credited with, which nobody measures.
  double slowest_prefill = 500;
  double slowest_decode = 20;
  std::size_t most_kept = 0;  // the most of PrefixIndex::kept(), where none of them has lost any
};
FleetRates fleet_rates(const std::vector<const WorkerState*>& workers);

// `expected_out`: tokens the job will probably generate.
Candidate estimate_cost(const JobSpec& job, double expected_out, const WorkerState& worker,
                        const PrefixIndex& index, const FleetRates& rates, Millis now);

// Index of the smallest cost; ties go to the most free memory, then to the first.
// Shape: candidates is not empty.
std::size_t cheapest(const std::vector<Candidate>& candidates);
// As a policy is shown it; views into `candidate` and `model`.
PolicyWorker as_offered(const Candidate& candidate, std::string_view model);

}  // namespace llorch
