// The part of the decision machine that keeps the fleet, and what hangs on time.
#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "orchestrator/core/core.h"
#include "orchestrator/core/live_job.h"
#include "orchestrator/core/placement.h"

namespace llorch {

void Core::on(WorkerRegistered& event) {
  const auto id = event.registration.worker_id;
  auto& worker = workers_[id];
  if (worker.registration.instance_id != event.registration.instance_id) {
    index_.forget(id);  // a new process has nothing computed
    worker.beat = {};
    worker.draining = false;  // and nobody has drained it yet
  }
  worker.registration = std::move(event.registration);
  worker.external = event.external;
  forget_address_of(worker);
  worker.fallback = event.fallback;
  worker.refuses_until_ms = 0;
  hear(worker);
  note_service(worker.registration.model);
  actions_.push_back(WorkerChanged{id});
}

// Another worker that was at this address is there no more.
void Core::forget_address_of(const WorkerState& worker) {
  if (worker.external) return;  // each model of such a server is an entry
  const auto& told = worker.registration;
  std::vector<std::string> replaced;
  for (const auto& [id, other] : workers_) {
    const auto& known = other.registration;
    if (&other != &worker && !other.external && !told.host.empty() && known.host == told.host &&
        known.port == told.port) {
      replaced.push_back(id);
    }
  }
  for (const auto& id : replaced) remove_worker(id, false);
}

void Core::on(WorkerBeat& event) {
  auto* const known = worker(event.worker_id);
  if (known == nullptr) return;
  index_.removed(event.worker_id, event.beat.cache_removed);
  index_.told(event.worker_id, event.beat.cache_added);
  known->beat = std::move(event.beat);
  for (const auto& told : known->beat.jobs) {
    auto* const job = find(JobId{told.job_id});
    if (job == nullptr || job->worker_id != known->id()) continue;
    if (told.prompt_done <= job->prompt_done) continue;
    set_left(*job, job->prefill_left - static_cast<double>(told.prompt_done - job->prompt_done),
             job->decode_left);
    job->prompt_done = told.prompt_done;
    job->progress_at_ms = now_;
  }
  // That it speaks to us does not say that we reach it: only /health brings it back.
  known->heard_at_ms = now_;
  place_again_ = true;
}

void Core::on(WorkerProbed& event) {
  auto* const known = worker(event.worker_id);
  if (known == nullptr) return;
  if (!event.good) return mark_unhealthy(*known);
  const bool back = known->status != WorkerStatus::healthy;
  hear(*known);
  if (back) actions_.push_back(WorkerChanged{known->id()});
}

void Core::on(WorkerDrains& event) {
  auto* const known = worker(event.worker_id);
  if (known == nullptr || known->draining) return;
  known->draining = true;
  note_service(known->registration.model);
  place_again_ = true;  // what waited for it may go to a fallback
  actions_.push_back(WorkerChanged{known->id()});
}

void Core::on(WorkerLeft& event) {
  if (worker(event.worker_id) != nullptr) remove_worker(event.worker_id, false);
}

// We have reached it, or it has just begun.
void Core::hear(WorkerState& worker) {
  if (worker.status != WorkerStatus::healthy) {
    worker.status = WorkerStatus::healthy;
    note_service(worker.registration.model);
  }
  worker.heard_at_ms = now_;
  worker.probe_at_ms = now_ + limits::probe_healthy_ms;
  place_again_ = true;
}

void Core::note_service(const std::string& model) {
  const bool served = std::any_of(workers_.begin(), workers_.end(), [&](const auto& entry) {
    const auto& known = entry.second;
    return known.registration.model == model && known.status == WorkerStatus::healthy &&
           !known.draining;
  });
  outages_.note(model, served, now_);
}

// We have not looked for so long that we stood still, or the machine did: then the workers' beats
// and the jobs' progress of that time are still on their way to us. Deadlines go on.
void Core::forgive_standstill() {
  const auto gap = now_ - std::exchange(ticked_at_ms_, now_);
  if (gap == now_ || gap < limits::standstill_ms) return;
  for (auto& [id, worker] : workers_) worker.heard_at_ms = std::min(worker.heard_at_ms + gap, now_);
  for (auto& [id, job] : jobs_) job->progress_at_ms = std::min(job->progress_at_ms + gap, now_);
}

void Core::mark_unhealthy(WorkerState& worker) {
  if (worker.status == WorkerStatus::healthy) {
    worker.status = WorkerStatus::unhealthy;
    note_service(worker.registration.model);
    worker.unhealthy_since_ms = now_;
    worker.probe_at_ms = now_;
    place_again_ = true;  // what waited for it may go to a fallback
    actions_.push_back(WorkerChanged{worker.id()});
  }
  if (worker.probe_at_ms > now_) return;
  worker.probe_at_ms = now_ + limits::probe_unhealthy_ms;
  actions_.push_back(ProbeWorker{worker.id()});
}

void Core::remove_worker(const std::string& id, bool clean_up) {
  const auto pool_host = workers_.at(id).registration.pool_host;
  const auto model = workers_.at(id).registration.model;
  std::vector<JobId> there;
  for (const auto& [job_id, job] : jobs_) {
    if (job->worker_id == id) there.push_back(job_id);
  }
  for (const auto& job_id : there) {
    auto& job = *jobs_.at(job_id);
    actions_.push_back(AbortAttempt{job_id, job.attempt, id});
    fail_attempt(job, Failure::worker_lost,
                 {.code = Code::worker_lost, .message = "worker " + id + " is gone"}, true);
  }
  index_.forget(id);
  workers_.erase(id);
  note_service(model);
  actions_.push_back(ForgetWorker{id, pool_host, clean_up});
  place_again_ = true;
}

void Core::on(TimePassed&) {
  forgive_standstill();
  std::vector<std::string> dead;
  for (auto& [id, worker] : workers_) {
    if (check_worker(worker)) dead.push_back(id);
  }
  for (const auto& id : dead) remove_worker(id, true);
  std::vector<JobId> due;
  for (const auto& [id, job] : jobs_) {
    if (overdue(*job)) due.push_back(id);
  }
  for (const auto& id : due) {
    if (auto* const job = find(id)) give_up_or_move(*job);
  }
  place_again_ = queue_.size() > 0;
}

// True: it has been silent for so long that it counts as dead.
bool Core::check_worker(WorkerState& worker) {
  if (worker.status == WorkerStatus::unhealthy) {
    const auto silent_ms = now_ - worker.unhealthy_since_ms;
    if (silent_ms >= options_.worker_dead_ms && !worker.external) return true;
    mark_unhealthy(worker);  // asks again, once a second
    return false;
  }
  const bool beats = !worker.external;
  if (beats && now_ - worker.heard_at_ms > limits::heartbeats_missed_ms) {
    mark_unhealthy(worker);
  } else if (worker.probe_at_ms <= now_) {
    worker.probe_at_ms = now_ + limits::probe_healthy_ms;
    actions_.push_back(ProbeWorker{worker.id()});
  }
  return false;
}

bool Core::overdue(const Job& job) const {
  if (job.spec.deadline_at_ms && now_ >= *job.spec.deadline_at_ms) return true;
  // Embeddings and other people's servers show no progress; their attempt has a limit of its own.
  const auto at = workers_.find(job.worker_id);
  const bool silent =
      job.spec.capability == "embeddings" || (at != workers_.end() && at->second.external);
  if (job.at_worker()) return !silent && now_ - job.progress_at_ms >= options_.stall_ms;
  // What was accepted before a restart waits for its worker up to its deadline.
  return !job.spec.restored && now_ - job.queued_at_ms >= options_.queue_timeout_ms;
}

void Core::give_up_or_move(Job& job) {
  const auto at = job.worker_id;
  if (job.at_worker()) {
    actions_.push_back(AbortAttempt{job.spec.id, job.attempt, at});
    if (job.spec.deadline_at_ms && now_ >= *job.spec.deadline_at_ms) {
      return fail_job(job, {.code = Code::deadline_unmet, .message = "its deadline has passed"});
    }
    return fail_attempt(job, Failure::stalled,
                        {.code = Code::worker_timeout,
                         .message = "worker " + at + " made no progress for " +
                                    std::to_string(options_.stall_ms) + " ms"},
                        true);
  }
  if (job.spec.deadline_at_ms && now_ >= *job.spec.deadline_at_ms) {
    return fail_job(job, {.code = Code::deadline_unmet,
                          .message = "its deadline passed while it waited",
                          .retry_after_ms = retry_after_ms(now_)});
  }
  const bool somebody = std::any_of(workers_.begin(), workers_.end(), [&](const auto& entry) {
    return entry.second.registration.model == job.spec.model &&
           entry.second.status == WorkerStatus::healthy;
  });
  fail_job(job, {.code = somebody ? Code::queue_timeout : Code::no_worker,
                 .message = somebody ? "no worker came free in time"
                                     : "no worker for model " + job.spec.model + " is healthy",
                 .retry_after_ms =
                     somebody ? retry_after_ms(now_) : worker_expected_ms(job.spec.model, now_)});
}

WorkerState* Core::worker(const std::string& id) {
  const auto found = workers_.find(id);
  return found == workers_.end() ? nullptr : &found->second;
}

// It is healthy, has a place, and so has the server it is a model of.
bool Core::open_for_work(const WorkerState& worker) const {
  if (!worker.takes_work(now_)) return false;
  if (!worker.external) return true;
  std::int32_t outstanding = 0;
  for (const auto& [id, other] : workers_) {
    const bool same =
        other.external && other.registration.pool_host == worker.registration.pool_host;
    if (same) outstanding += other.outstanding;
  }
  return outstanding < worker.registration.slots_total;
}

bool Core::can_serve(const WorkerState& worker, const Job& job) const {
  if (job.refused.contains(worker.id())) return false;
  const auto& told = worker.registration;
  const auto& can = told.capabilities;
  const bool able =
      can.empty() || std::find(can.begin(), can.end(), job.spec.capability) != can.end();
  if (!able) return false;
  if (job.tokens_out > 0) {
    // Token ids mean the same only where the tokenizer is the same.
    // Unknown only when a crash came between the tokens and the note of their worker: then the
    // model's name has to do, for such a job would wait for ever.
    const bool same = job.tokenizer_hash.empty() || told.tokenizer_hash == job.tokenizer_hash;
    if (worker.external || !same) return false;
  }
  if (job.context_needed > 0 && told.context_tokens < job.context_needed) return false;
  return worker.external || told.context_tokens == 0 ||
         job.prompt_tokens + job.tokens_out < told.context_tokens;
}

bool Core::serves(const std::string& model, const std::string& capability) const {
  return std::any_of(workers_.begin(), workers_.end(), [&](const auto& entry) {
    const auto& told = entry.second.registration;
    const auto& can = told.capabilities;
    return told.model == model &&
           (can.empty() || std::find(can.begin(), can.end(), capability) != can.end());
  });
}

std::int64_t Core::position(const Job& job) const {
  std::int64_t place = 0;
  queue_.walk(now_, [&](const QueuedJob& queued) {
    ++place;
    return queued.id == job.spec.id ? JobQueue::Walk::stop : JobQueue::Walk::go_on;
  });
  return place;
}

std::optional<JobView> Core::job(const JobId& id, Millis) const {
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return std::nullopt;
  const auto& job = *found->second;
  JobView view{.status = job.status,
               .worker_id = job.worker_id,
               .attempt = job.attempt,
               .tokens_out = job.tokens_out,
               .queue_position = 0,
               .predicted_start_ms = 0};
  if (!job.at_worker()) {
    view.queue_position = position(job);
    view.predicted_start_ms = predict(job).start_in_ms;
  }
  return view;
}

PolicyJob Core::policy_job(const Job& job) const {
  return {.id = job.spec.id.value,
          .model = job.spec.model,
          .priority = job.spec.priority,
          .tenant = job.spec.tenant,
          .session_id = job.spec.session_id,
          .prompt_tokens_estimate = job.spec.prompt_tokens_estimate,
          .max_tokens = job.spec.max_tokens,
          .temperature = job.spec.temperature,
          .age_ms = now_ - job.accepted_at_ms,
          .attempt = job.next_attempt};
}

}  // namespace llorch
