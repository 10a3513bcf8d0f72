#include "orchestrator/core/placement.h"

#include <algorithm>

#include "base/limits.h"

namespace llorch {
namespace {

// What a full cache is thought to lose by a new prompt before it has lost anything: a share of that
// prompt. Of machines that are about equally fast one always measures best; it would get every new
// prompt, and lose those it has, while the other's cache stays empty.
constexpr double spread_share = 0.2;

}  // namespace

FleetRates fleet_rates(const std::vector<const WorkerState*>& workers) {
  FleetRates mean;
  double prefill = 0, decode = 0;
  int prefills = 0, decodes = 0;
  const auto count = [](double rate, double& sum, int& counted, double& slowest) {
    if (rate <= 0) return;
    sum += rate;
    slowest = counted++ == 0 ? rate : std::min(slowest, rate);
  };
  for (const auto* worker : workers) {
    const auto& beat = worker->beat;
    count(beat.prefill_tokens_per_second, prefill, prefills, mean.slowest_prefill);
    count(beat.decode_tokens_per_second, decode, decodes, mean.slowest_decode);
  }
  if (prefills > 0) mean.prefill_tokens_per_second = prefill / prefills;
  if (decodes > 0) mean.decode_tokens_per_second = decode / decodes;
  return mean;
}

Candidate estimate_cost(const JobSpec& job, double expected_out, const WorkerState& worker,
                        const PrefixIndex& index, const FleetRates& rates, Millis now) {
  Candidate cost;
  cost.worker_id = worker.id();
  cost.host = worker.registration.pool_host;
  cost.backend = worker.registration.backend;
  cost.slots_total = worker.registration.slots_total;
  cost.slots_free = worker.slots_free();
  cost.queue_depth = std::max(worker.outstanding - worker.registration.slots_total, 0);
  cost.memory_free_bytes = worker.beat.memory_free_bytes;
  const auto& beat = worker.beat;
  cost.prefill_tokens_per_second = beat.prefill_tokens_per_second > 0
                                       ? beat.prefill_tokens_per_second
                                       : rates.prefill_tokens_per_second;
  cost.decode_tokens_per_second = beat.decode_tokens_per_second > 0
                                      ? beat.decode_tokens_per_second
                                      : rates.decode_tokens_per_second;

  if (worker.external) {
    cost.prefill_tokens_per_second = rates.slowest_prefill;
    cost.decode_tokens_per_second = rates.slowest_decode;
    cost.external_ms = limits::external_extra_ms;
  }

  const auto blocks = index.blocks(worker.id(), job.prefix_chain);
  if (job.prompt_bytes > 0) {
    const auto cached_bytes = static_cast<double>(blocks * prefix_block_bytes);
    const auto share = std::min(cached_bytes / static_cast<double>(job.prompt_bytes), 1.0);
    cost.cached_tokens =
        static_cast<std::int64_t>(share * static_cast<double>(job.prompt_tokens_estimate));
  }
  const double prefill_ms_each = 1000 / cost.prefill_tokens_per_second;
  const double decode_ms_each = 1000 / cost.decode_tokens_per_second;
  cost.wait_ms = worker.prefill_ms_left(now, prefill_ms_each);
  if (cost.slots_free == 0 && worker.outstanding > 0) {
    const double per_job = worker.decode_tokens_left / worker.outstanding;
    const double ahead = worker.outstanding - worker.registration.slots_total + 1;
    cost.wait_ms += per_job * decode_ms_each * ahead;
  }
  const auto prompt = job.prompt_tokens_estimate + job.tokens_out;
  cost.prefill_ms =
      static_cast<double>(std::max<std::int64_t>(prompt - cost.cached_tokens, 1)) * prefill_ms_each;
  const auto fresh = job.prefix_chain.size() - std::min(job.prefix_chain.size(), blocks);
  const auto lost_blocks = static_cast<double>(index.displaced(worker.id(), fresh));
  if (lost_blocks > 0 && job.prompt_bytes > 0) {
    const auto tokens_each = static_cast<double>(prefix_block_bytes) *
                             static_cast<double>(job.prompt_tokens_estimate) /
                             static_cast<double>(job.prompt_bytes);
    cost.displaced_ms = lost_blocks * tokens_each * prefill_ms_each * index.reuse();
  } else if (rates.most_kept > 0 && fresh > 0) {
    const auto fullness = static_cast<double>(index.kept(worker.id()).value_or(0)) /
                          static_cast<double>(rates.most_kept);
    cost.displaced_ms = spread_share * cost.prefill_ms * fullness;
  }
  // Its slots share the device: the rate of the beats is that of all streams together.
  const double streams = std::max(std::min(worker.outstanding, worker.registration.slots_total), 0);
  const double busy = std::max(beat.slots_busy, 1);
  cost.decode_ms = expected_out * decode_ms_each * std::max((streams + 1) / busy, 1.0);
  return cost;
}

std::size_t cheapest(const std::vector<Candidate>& candidates) {
  const auto best = std::min_element(
      candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
        const double left = a.cost_ms();
        const double right = b.cost_ms();
        return left != right ? left < right : a.memory_free_bytes > b.memory_free_bytes;
      });
  return static_cast<std::size_t>(best - candidates.begin());
}

PolicyWorker as_offered(const Candidate& candidate, std::string_view model) {
  return {.id = candidate.worker_id,
          .host = candidate.host,
          .model = model,
          .backend = candidate.backend,
          .status = wire_name(WorkerStatus::healthy),
          .slots_total = candidate.slots_total,
          .slots_free = candidate.slots_free,
          .queue_depth = candidate.queue_depth,
          .cached_tokens = candidate.cached_tokens,
          .cost_ms = candidate.cost_ms(),
          .prefill_tokens_per_second = candidate.prefill_tokens_per_second,
          .decode_tokens_per_second = candidate.decode_tokens_per_second,
          .memory_free_bytes = candidate.memory_free_bytes};
}

}  // namespace llorch
