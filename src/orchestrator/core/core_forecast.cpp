// The part of the decision machine that says when: starts of waiting jobs, and when a refused one
// may come back. From what the running jobs have left, at the speeds that are measured.
#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "orchestrator/core/core.h"
#include "orchestrator/core/forecast.h"
#include "orchestrator/core/live_job.h"
#include "orchestrator/core/placement.h"

namespace llorch {
namespace {

constexpr double overrun_share = 0.25;            // left of a job that has outlived its estimate
constexpr std::size_t forecast_jobs_max = 1'000;  // behind them the mean has to do

}  // namespace

double Core::expected_ms(const JobSpec& job, double expected_out) const {
  std::vector<const WorkerState*> own;
  for (const auto& [id, worker] : workers_) {
    if (worker.registration.model == job.model) own.push_back(&worker);
  }
  const auto rates = fleet_rates(own);
  const auto prompt = static_cast<double>(job.prompt_tokens_estimate + job.tokens_out);
  return prompt * 1000 / rates.prefill_tokens_per_second +
         expected_out * 1000 / rates.decode_tokens_per_second;
}

// How long a job that is at a worker needs its slot, from its slot's start or from now.
double Core::left_ms(const Job& job, const Lane& pace) const {
  const auto each = own_ms_per_token(job).value_or(pace.ms_per_token);
  auto tokens = job.decode_left;
  if (tokens < 1) {
    tokens = overrun_share * job.expected_out;
    if (job.spec.max_tokens > 0) {
      tokens = std::min(tokens, static_cast<double>(job.spec.max_tokens - job.tokens_out));
    }
  }
  const auto heard = job.first_token_at_ms > 0 ? job.tokens_at_ms : job.progress_at_ms;
  const auto since = job.status == JobStatus::running ? static_cast<double>(now_ - heard) : 0.0;
  const auto whole = job.prefill_left * pace.ms_per_prompt_token + std::max(tokens, 0.0) * each;
  return std::max(whole - since, 0.0);
}

Lane Core::pace_of(const WorkerState& worker) const {
  const auto rates = fleet_rates({&worker});
  Lane pace{.free_in_ms = 0,
            .ms_per_prompt_token = 1'000 / rates.prefill_tokens_per_second,
            .ms_per_token = worker.stream_ms_per_token};
  if (pace.ms_per_token == 0) {
    // The rate of the beats is that of all streams together.
    const auto streams =
        std::clamp(worker.outstanding, 1, std::max(worker.registration.slots_total, 1));
    pace.ms_per_token = 1'000 * streams / rates.decode_tokens_per_second;
  }
  return pace;
}

// How fast its stream has run; nullopt: too short to say.
std::optional<double> Core::own_ms_per_token(const Job& job) {
  constexpr std::int64_t measured_tokens = 4;  // some come together
  const auto since_first = job.tokens_out - job.first_tokens;
  if (job.first_token_at_ms == 0 || since_first < measured_tokens) return std::nullopt;
  const auto spent = static_cast<double>(job.tokens_at_ms - job.first_token_at_ms);
  return spent / static_cast<double>(since_first);
}

void Core::learn_pace(const Job& job) {
  constexpr double newest = 0.2;
  auto* const at = worker(job.worker_id);
  const auto own = own_ms_per_token(job);
  if (at == nullptr || !own) return;
  auto& mean = at->stream_ms_per_token;
  mean = mean == 0 ? *own : mean + newest * (*own - mean);
}

// The slots of a model's workers. Jobs there beyond the slots take their turn first.
Forecast Core::forecast(const std::string& model) const {
  std::vector<const WorkerState*> own;
  for (const auto& [id, worker] : workers_) {
    const bool serves = worker.registration.model == model && !worker.draining &&
                        worker.status == WorkerStatus::healthy;
    if (serves) own.push_back(&worker);
  }
  std::map<std::string, std::vector<const Job*>> there;
  for (const auto& [id, job] : jobs_) {
    if (job->at_worker()) there[job->worker_id].push_back(job.get());
  }
  std::vector<Lane> lanes;
  for (const auto* worker : own) {
    const auto pace = pace_of(*worker);
    const auto slots = worker->registration.slots_total;
    std::vector<Lane> slots_here(static_cast<std::size_t>(std::max(slots, 0)), pace);
    auto& jobs = there[worker->id()];
    std::sort(jobs.begin(), jobs.end(), [](const Job* a, const Job* b) {
      return std::pair(a->dispatched_at_ms, a->spec.id.value) <
             std::pair(b->dispatched_at_ms, b->spec.id.value);
    });
    for (const auto* job : jobs) {
      const auto first = std::min_element(
          slots_here.begin(), slots_here.end(),
          [](const Lane& a, const Lane& b) { return a.free_in_ms < b.free_in_ms; });
      if (first != slots_here.end()) first->free_in_ms += left_ms(*job, pace);
    }
    lanes.insert(lanes.end(), slots_here.begin(), slots_here.end());
  }
  return Forecast(std::move(lanes));
}

// The soonest end among the jobs that have a slot there: what makes room in the queue.
std::optional<double> Core::next_end_ms(const std::string& model) const {
  std::optional<double> soonest;
  for (const auto& [id, job] : jobs_) {
    const bool runs = job->status == JobStatus::running && job->spec.model == model;
    const auto at = runs ? workers_.find(job->worker_id) : workers_.end();
    if (at == workers_.end()) continue;
    const auto left = left_ms(*job, pace_of(at->second));
    if (!soonest || left < *soonest) soonest = left;
  }
  return soonest;
}

Core::Prediction Core::predict(const Job& job) const {
  const auto each = record_.ms_per_end(now_);
  // Else what they have left says less than how fast they have ended lately.
  const bool foretold = !each || record_.keeps_to_estimates();
  auto slots = foretold ? forecast(job.spec.model) : Forecast(std::vector<Lane>{});
  std::size_t before = 0, beyond = 0;
  queue_.walk(now_, job.spec.model, [&](const QueuedJob& queued) {
    if (queued.id == job.spec.id) return JobQueue::Walk::stop;
    if (slots.empty() || ++before > forecast_jobs_max) {
      ++beyond;
      return JobQueue::Walk::go_on;
    }
    const auto& ahead = *jobs_.at(queued.id);
    slots.start(static_cast<double>(ahead.spec.prompt_tokens_estimate + ahead.tokens_out),
                ahead.expected_out);
    return JobQueue::Walk::go_on;
  });
  const auto mean = each.value_or(expected_ms(job.spec, job.expected_out));
  const auto start = slots.empty() ? mean : slots.next_start_ms();
  const auto prompt = static_cast<double>(job.spec.prompt_tokens_estimate + job.tokens_out);
  const auto length = slots.empty() ? expected_ms(job.spec, job.expected_out)
                                    : slots.length_ms(prompt, job.expected_out);
  return {.start_in_ms = static_cast<Millis>(start + static_cast<double>(beyond) * mean),
          .length_ms = static_cast<Millis>(length)};
}

Millis Core::worker_expected_ms(const std::string& model, Millis now) const {
  const auto left = outages_.left_ms(model, now).value_or(limits::full_retry_ms);
  return std::clamp(left, limits::retry_told_ms_least, limits::retry_ms_max);
}

// Where jobs end as they were expected to, the next end can be foretold. Else the times between
// two ends say more: the soonest of several that may end at any time comes before each one's mean.
Millis Core::retry_after_ms(Millis now) const {
  const auto mean = record_.ms_per_end(now);
  std::optional<double> wait = mean;
  if (record_.keeps_to_estimates()) {
    std::set<std::string_view> models;
    std::optional<double> soonest;
    queue_.walk(now, [&](const QueuedJob& queued) {
      if (!models.insert(queued.model).second) return JobQueue::Walk::go_on;
      const auto next = next_end_ms(queued.model);
      if (next && (!soonest || *next < *soonest)) soonest = next;
      return JobQueue::Walk::go_on;
    });
    if (soonest) wait = soonest;
  }
  if (!wait) return limits::full_retry_ms;
  return std::clamp(static_cast<Millis>(*wait), limits::retry_told_ms_least, limits::retry_ms_max);
}

}  // namespace llorch
