#include "orchestrator/core/core.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <set>
#include <utility>

#include "base/limits.h"
#include "orchestrator/core/live_job.h"
#include "orchestrator/core/placement.h"

namespace llorch {

namespace {

// What somebody else's server says may repeat the prompt, which is not kept.
std::string failure_text(const WorkerState* from, std::string_view message) {
  if (from == nullptr || from->external) return {};
  return std::string(message.substr(0, limits::failure_bytes_max));
}

}  // namespace

Core::Core(CoreOptions options, Policy& policy)
    : options_(options),
      policy_(policy),
      queue_(options.order, limits::promote_batch_ms, options.oldest_share),
      index_(limits::prefix_entries_max),
      jitter_(options.seed) {}

Core::~Core() = default;

std::vector<Action> Core::step(Event event, Millis now) {
  assert(actions_.empty());
  now_ = std::max(now, now_);  // a clock that goes back must not undo what has happened
  std::visit([this](auto& happened) { on(happened); }, event);
  if (std::exchange(place_again_, false)) place_waiting();
  return std::exchange(actions_, {});
}

// Jobs

void Core::on(JobSubmitted& event) {
  auto& spec = event.job;
  if (jobs_.contains(spec.id)) return;
  auto owned = std::make_unique<Job>();
  auto& job = *owned;
  job.spec = std::move(spec);
  job.accepted_at_ms = now_ - job.spec.waited_ms;
  job.next_attempt = job.spec.attempt;
  job.tokens_out = job.spec.tokens_out;
  job.tokenizer_hash = job.spec.tokenizer_hash;
  job.moved = job.tokens_out > 0;  // it had begun before a restart
  job.expected_out = record_.expected_out(job.spec);
  const auto id = job.spec.id;
  const bool restored = job.spec.restored;
  jobs_.emplace(id, std::move(owned));
  if (!restored) {
    if (auto error = refusal(job)) return fail_job(job, std::move(*error));
  }
  wait_in_queue(job);
  place_waiting();  // a policy may refuse the job there, and then it is gone
  // Only a job that has to wait needs a place to wait in.
  auto* const waiting = queue_.contains(id) ? find(id) : nullptr;
  if (waiting != nullptr && !restored) make_room(*waiting);
}

std::optional<Error> Core::refusal(Job& job) {
  job.admitted_depth = static_cast<std::int64_t>(queue_.size());
  auto answer = policy_.should_admit(policy_job(job), *job.admitted_depth);
  if (answer.kind != Admission::Kind::reject) return std::nullopt;
  auto decision = decision_of(job);
  decision.kind = Decision::Kind::rejected;
  decision.decided_by = "should_admit";
  decision.reason = answer.reason;
  actions_.push_back(Record{std::move(decision)});
  return Error{.code = Code::policy_rejected, .message = std::move(answer.reason)};
}

// A queue over its capacity gives up a batch job, or refuses the newcomer.
void Core::make_room(Job& newcomer) {
  if (const auto& deadline = newcomer.spec.deadline_at_ms) {
    const auto [start_in_ms, length_ms] = predict(newcomer);
    const auto end = now_ + start_in_ms + length_ms;
    if (record_.ms_per_end(now_) && end > *deadline) {
      // Once so much of what waits before it has gone, the same deadline can be met.
      const auto excess =
          std::clamp(end - *deadline, limits::retry_told_ms_least, limits::retry_ms_max);
      return fail_job(newcomer, {.code = Code::deadline_unmet,
                                 .message = "would start in about " + std::to_string(start_in_ms) +
                                            " ms, too late for its deadline",
                                 .retry_after_ms = excess});
    }
  }
  if (options_.queue_capacity < 0) return;
  if (static_cast<std::int64_t>(queue_.size()) <= options_.queue_capacity) return;
  Error full{.code = Code::queue_full,
             .message = "the queue is full (" + std::to_string(options_.queue_capacity) + " jobs)",
             .retry_after_ms = retry_after_ms(now_)};
  Job* given_up = &newcomer;
  if (options_.drop_lru) {
    const auto oldest = queue_.oldest_batch();
    // A batch newcomer is itself the last to be given up: the oldest one has waited in vain.
    if (oldest) given_up = find(*oldest);
  }
  fail_job(*given_up, std::move(full));
}

void Core::on(JobCancelled& event) {
  auto* const job = find(event.job);
  if (job == nullptr) return;
  if (job->at_worker()) {
    actions_.push_back(AbortAttempt{job->spec.id, job->attempt, job->worker_id});
  }
  end_job(*job,
          {.status = JobStatus::cancelled, .error = {}, .stop_reason = StopReason::CANCELLED});
}

void Core::on(Draining&) {
  draining_ = true;
  std::vector<Job*> waiting;
  for (const auto& [id, job] : jobs_) {
    const bool task = job->spec.capability == "execute";
    if (!task && !job->at_worker() && !job->moved) waiting.push_back(job.get());
  }
  for (auto* const job : waiting) {
    fail_job(*job, {.code = Code::draining, .message = "orchestratord is stopping"});
  }
}

void Core::wait_in_queue(Job& job) {
  job.status = JobStatus::queued;
  job.queued_at_ms = now_;
  const auto prompt = static_cast<double>(job.spec.prompt_tokens_estimate);
  queue_.add({.id = job.spec.id,
              .tenant = job.spec.tenant,
              .model = job.spec.model,
              .priority = job.spec.priority,
              .since_ms = job.accepted_at_ms,
              .expected_tokens = prompt + output_weight * job.expected_out,
              .expected_ms = expected_ms(job.spec, job.expected_out),
              .moved = job.moved});
}

void Core::place_waiting() {
  if (queue_.size() == 0) return;
  std::set<std::string> open;  // models that some worker has room for
  for (const auto& [id, worker] : workers_) {
    if (open_for_work(worker)) open.insert(worker.registration.model);
  }
  for (const auto& model : open) place_waiting(model);
}

void Core::place_waiting(const std::string& model) {
  std::vector<JobId> order;
  queue_.walk(now_, model, [&](const QueuedJob& queued) {
    const auto& job = *jobs_.at(queued.id);
    const bool may_start = job.moved || !draining_;
    if (may_start && job.not_before_ms <= now_) order.push_back(queued.id);
    return JobQueue::Walk::go_on;
  });
  std::vector<Job*> waits;  // as a script said; it is not asked for a long queue at once
  for (const auto& id : order) {
    auto& job = *jobs_.at(id);
    if (place(job) == Placed::waits) waits.push_back(&job);
    if (waits.size() >= limits::policy_waits_max) return let_others_go_first(waits);
    const bool room = std::any_of(workers_.begin(), workers_.end(), [&](const auto& entry) {
      return entry.second.registration.model == model && open_for_work(entry.second);
    });
    if (!room) return;
  }
}

// Not before each of the queue has been asked about: those behind them may start.
void Core::let_others_go_first(const std::vector<Job*>& jobs) {
  const auto passes = static_cast<Millis>(queue_.size() / jobs.size()) + 1;
  for (auto* const job : jobs) job->not_before_ms = now_ + passes * limits::tick_ms;
}

Decision Core::decision_of(const Job& job) const {
  const auto& spec = job.spec;
  Decision decision;
  decision.job = spec.id;
  decision.of = {.model = spec.model,
                 .tenant = spec.tenant,
                 .session_id = spec.session_id,
                 .priority = spec.priority,
                 .prompt_tokens_estimate = spec.prompt_tokens_estimate,
                 .max_tokens = spec.max_tokens,
                 .temperature = spec.temperature};
  decision.attempt = job.next_attempt;
  decision.at_ms = now_;
  decision.waited_ms = now_ - job.accepted_at_ms;
  decision.queue_depth = job.admitted_depth;
  return decision;
}

Core::Placed Core::place(Job& job) {
  const auto workers = eligible(job);
  if (workers.empty()) return Placed::nowhere;
  auto decision = decision_of(job);
  auto rates = fleet_rates(workers);
  for (const auto* worker : workers) {
    const auto kept = index_.kept(worker->id());
    if (!kept) {  // what a prompt displaces there is known, and counts for more than a guess
      rates.most_kept = 0;
      break;
    }
    rates.most_kept = std::max(rates.most_kept, *kept);
  }
  std::vector<PolicyWorker> offered;
  for (const auto* worker : workers) {
    decision.candidates.push_back(
        estimate_cost(job.spec, job.expected_out, *worker, index_, rates, now_));
  }
  for (const auto& candidate : decision.candidates) {
    offered.push_back(as_offered(candidate, job.spec.model));
  }
  auto answer = policy_.schedule_job(policy_job(job), offered);
  decision.decided_by = std::move(answer.decided_by);
  if (answer.kind == Placement::Kind::wait) return Placed::waits;
  if (answer.kind == Placement::Kind::reject) {
    decision.kind = Decision::Kind::rejected;
    decision.reason = answer.reason;
    actions_.push_back(Record{std::move(decision)});
    fail_job(job, {.code = Code::policy_rejected, .message = std::move(answer.reason)});
    return Placed::refused;
  }
  // A policy that leaves the choice, or names a worker it was not offered: the cheapest one.
  const bool named =
      answer.kind == Placement::Kind::worker && answer.worker < decision.candidates.size();
  const auto at = named ? answer.worker : cheapest(decision.candidates);
  if (!named) decision.decided_by = "built-in cost";
  decision.worker_id = decision.candidates[at].worker_id;
  const auto chosen = decision.candidates[at];
  actions_.push_back(Record{std::move(decision)});
  job.admitted_depth.reset();
  dispatch(job, chosen);
  return Placed::placed;
}

std::vector<const WorkerState*> Core::eligible(const Job& job) const {
  std::vector<const WorkerState*> fresh, failed_before;
  bool own = false;
  for (const auto& [id, worker] : workers_) {
    if (worker.registration.model != job.spec.model) continue;
    if (!can_serve(worker, job)) continue;
    const bool failed = job.avoid.contains(id);
    const bool alive = worker.status == WorkerStatus::healthy && !worker.draining;
    if (!worker.external && alive && !failed) own = true;  // busy ones too: the job waits for them
    if (open_for_work(worker)) (failed ? failed_before : fresh).push_back(&worker);
  }
  const auto is_fallback = [](const auto* worker) { return worker->fallback; };
  if (own) std::erase_if(fresh, is_fallback);
  if (own) std::erase_if(failed_before, is_fallback);
  return fresh.empty() ? failed_before : fresh;
}

void Core::dispatch(Job& job, const Candidate& chosen) {
  auto& worker = workers_.at(chosen.worker_id);
  queue_.start(job.spec.id, now_);
  job.status = JobStatus::dispatched;
  job.worker_id = chosen.worker_id;
  job.attempt = job.next_attempt++;
  job.dispatched_at_ms = job.progress_at_ms = now_;
  job.prompt_done = 0;
  job.engine_step = 0;
  job.first_token_at_ms = job.tokens_at_ms = 0;
  job.prefill_left = static_cast<double>(std::max<std::int64_t>(
      job.spec.prompt_tokens_estimate + job.tokens_out - chosen.cached_tokens, 1));
  job.decode_left = job.expected_out;
  ++worker.outstanding;
  if (busy_++ == 0) record_.busy_again(now_);
  // What it may have done since its last news is at most what it had to do.
  const auto before_ms = worker.prefill_tokens_left * 1'000 / chosen.prefill_tokens_per_second;
  worker.prefill_as_of_ms =
      std::max(worker.prefill_as_of_ms, now_ - static_cast<Millis>(before_ms));
  worker.prefill_tokens_left += job.prefill_left;
  worker.decode_tokens_left += job.decode_left;
  const double service = job.prefill_left + output_weight * job.expected_out;
  job.charged += service;
  queue_.charge(job.spec.tenant, service);
  if (!worker.external) {
    job.prefix = index_.expect(job.worker_id, job.spec.prefix_chain);
    index_.placed(job.worker_id, job.spec.prefix_chain);
  }
  actions_.push_back(Dispatch{job.spec.id, job.attempt, job.worker_id});
}

// Attempts

void Core::on(AttemptStarted& event) {
  auto* const job = attempt(event.job, event.attempt);
  if (job == nullptr) return;
  job->status = JobStatus::running;
  job->progress_at_ms = now_;
  job->prompt_tokens = event.prompt_tokens;
  job->prompt_done = event.cached_tokens;  // what progress counts from
  if (auto* const at = worker(job->worker_id)) {
    job->tokenizer_hash = at->registration.tokenizer_hash;
    learn_prefix(*job, *at, event);
  }
  set_left(*job, static_cast<double>(event.prompt_tokens - event.cached_tokens), job->decode_left);
  actions_.push_back(JobChanged{job->spec.id, JobStatus::running});
}

// Whether its worker had as much of the prompt as was thought says how much that worker keeps.
void Core::learn_prefix(const Job& job, const WorkerState& worker, const AttemptStarted& told) {
  if (worker.external || told.prompt_tokens <= 0 || job.spec.prefix_chain.empty()) return;
  if (job.tokens_out > 0) return;  // those count as prompt there
  const auto share =
      static_cast<double>(told.cached_tokens) / static_cast<double>(told.prompt_tokens);
  const auto bytes = share * static_cast<double>(job.spec.prompt_bytes);
  const auto blocks = std::lround(bytes / static_cast<double>(prefix_block_bytes));
  index_.found(worker.id(), job.prefix, static_cast<std::size_t>(std::max(blocks, 0L)));
}

void Core::on(AttemptProgress& event) {
  auto* const job = attempt(event.job, event.attempt);
  if (job == nullptr) return;
  const bool tokens = event.tokens_out > job->tokens_out;
  const bool prompt = event.prompt_done > job->prompt_done;
  const bool steps = event.engine_step > job->engine_step;
  if (tokens || prompt || steps) job->progress_at_ms = now_;
  double prefill = job->prefill_left;
  double decode = job->decode_left;
  if (prompt) prefill -= static_cast<double>(event.prompt_done - job->prompt_done);
  if (tokens) {
    prefill = 0;
    decode -= static_cast<double>(event.tokens_out - job->tokens_out);
    job->tokens_out = event.tokens_out;
    job->tokens_at_ms = now_;
    if (job->first_token_at_ms == 0) {
      job->first_token_at_ms = now_;
      job->first_tokens = event.tokens_out;
    }
  }
  job->prompt_done = std::max(job->prompt_done, event.prompt_done);
  job->engine_step = std::max(job->engine_step, event.engine_step);
  set_left(*job, prefill, decode);
}

void Core::on(ClientStalled& event) {
  if (auto* const job = attempt(event.job, event.attempt)) job->progress_at_ms = now_;
}

void Core::on(AttemptEnded& event) {
  auto* const job = attempt(event.job, event.attempt);
  if (job == nullptr) return;
  learn_pace(*job);
  job->tokens_out = std::max(job->tokens_out, event.tokens_out);
  const bool cancelled = event.reason == StopReason::CANCELLED;
  if (!cancelled) record_.ended(job->spec, job->tokens_out, now_);
  end_job(*job, {.status = cancelled ? JobStatus::cancelled : JobStatus::completed,
                 .error = {},
                 .stop_reason = event.reason});
}

void Core::on(AttemptFailed& event) {
  auto* const job = attempt(event.job, event.attempt);
  if (job == nullptr) return;
  job->tokens_out = std::max(job->tokens_out, event.tokens_out);
  if (auto* const at = worker(job->worker_id)) {
    const bool gone =
        event.failure == Failure::unreachable || event.failure == Failure::worker_lost;
    if (gone) mark_unhealthy(*at);
    if (event.failure == Failure::overloaded) {
      const auto wait = event.error.retry_after_ms.value_or(limits::full_retry_ms);
      at->refuses_until_ms = now_ + std::clamp<Millis>(wait, 0, limits::retry_ms_max);
    }
    if (event.failure == Failure::draining) at->draining = true;
  }
  fail_attempt(*job, event.failure, std::move(event.error), event.resumable);
}

void Core::fail_attempt(Job& job, Failure failure, Error error, bool resumable) {
  const auto from = job.worker_id;
  const bool larger = error.code == Code::context_length_exceeded && needs_larger_context(job);
  leave_worker(job);
  const bool lost = job.tokens_out > 0 && !resumable;
  const bool refused = refused_for_good(job, from, failure, error);
  if (lost || refused ||
      (!larger && !job.refused.contains(from) && !may_retry(job, from, failure, error))) {
    return fail_job(job, std::move(error));
  }
  job.avoid.insert(from);
  job.moved = true;
  // A worker that is merely full costs no try.
  if (failure != Failure::overloaded && failure != Failure::draining) ++job.failures;
  job.spec.tokens_out = job.tokens_out;
  job.expected_out = record_.expected_out(job.spec);
  wait_in_queue(job);
  const auto others = eligible(job);
  const bool elsewhere = std::any_of(others.begin(), others.end(), [&](const auto* worker) {
    return !job.avoid.contains(worker->id());
  });
  job.not_before_ms = elsewhere ? now_ : now_ + backoff(job.failures);
  actions_.push_back(JobChanged{job.spec.id, JobStatus::queued});
  place_again_ = true;
}

// An external server that will not have a job says so again; another worker may take it. True:
// there is none.
bool Core::refused_for_good(Job& job, const std::string& by, Failure failure,
                            const Error& error) const {
  const auto at = workers_.find(by);
  const bool refusal =
      failure == Failure::internal || (failure == Failure::backend && !is_retriable(error.code));
  if (!refusal || at == workers_.end() || !at->second.external) return false;
  job.refused.insert(by);
  return std::none_of(workers_.begin(), workers_.end(), [&](const auto& entry) {
    return entry.second.registration.model == job.spec.model && can_serve(entry.second, job);
  });
}

// True: another worker of its model has room for more tokens than the one that refused it.
bool Core::needs_larger_context(Job& job) {
  const auto* const at = worker(job.worker_id);
  if (at == nullptr || at->external) return false;
  job.context_needed = at->registration.context_tokens + 1;
  return std::any_of(workers_.begin(), workers_.end(), [&](const auto& entry) {
    const auto& told = entry.second.registration;
    return told.model == job.spec.model && told.context_tokens >= job.context_needed;
  });
}

Millis Core::backoff(unsigned failures) {
  const auto doubled = limits::retry_ms << std::min(failures > 0 ? failures - 1 : 0U, 16U);
  const auto wait = std::min<Millis>(doubled, limits::retry_ms_max);
  return wait - static_cast<Millis>(jitter_() % static_cast<std::uint64_t>(wait / 4));
}

bool Core::may_retry(const Job& job, const std::string& from, Failure failure, const Error& error) {
  if (failure == Failure::backend && !is_retriable(error.code)) return false;
  if (job.failures + 1 >= limits::attempts_max) return false;
  const PolicyError told{
      .kind = policy_kind(failure), .code = wire_name(error.code), .message = error.message};
  const auto tries = job.failures + 1;
  const bool again = policy_.should_retry(policy_job(job), tries, told).value_or(true);
  auto decision = decision_of(job);
  decision.kind = again ? Decision::Kind::retried : Decision::Kind::given_up;
  decision.worker_id = from;
  decision.failed = FailedTry{.kind = std::string(told.kind),
                              .code = std::string(told.code),
                              .message = failure_text(worker(from), error.message),
                              .tries = tries};
  actions_.push_back(Record{std::move(decision)});
  return again;
}

void Core::leave_worker(Job& job) {
  if (!job.at_worker()) return;
  if (auto* const at = worker(job.worker_id)) {
    set_left(job, 0, 0);
    --at->outstanding;
  }
  if (--busy_ == 0) record_.idle(now_);
  job.worker_id.clear();
  job.status = JobStatus::queued;
  place_again_ = true;
}

void Core::set_left(Job& job, double prefill, double decode) {
  prefill = std::max(prefill, 0.0);
  decode = std::max(decode, 0.0);
  if (auto* const at = worker(job.worker_id)) {
    if (prefill != job.prefill_left) at->prefill_as_of_ms = now_;
    at->prefill_tokens_left = std::max(at->prefill_tokens_left + prefill - job.prefill_left, 0.0);
    at->decode_tokens_left = std::max(at->decode_tokens_left + decode - job.decode_left, 0.0);
  }
  job.prefill_left = prefill;
  job.decode_left = decode;
}

void Core::fail_job(Job& job, Error error) {
  end_job(job, {.status = JobStatus::failed, .error = std::move(error), .stop_reason = {}});
}

void Core::end_job(Job& job, JobEnd end) {
  const auto id = job.spec.id;
  leave_worker(job);
  queue_.remove(id);
  if (job.charged > 0) {  // what was really used
    const auto used = static_cast<double>(job.spec.prompt_tokens_estimate) +
                      output_weight * static_cast<double>(job.tokens_out);
    queue_.charge(job.spec.tenant, std::min(used, job.charged) - job.charged);
  }
  jobs_.erase(id);
  actions_.push_back(EndJob{id, std::move(end)});
}

Core::Job* Core::find(const JobId& id) {
  const auto found = jobs_.find(id);
  return found == jobs_.end() ? nullptr : found->second.get();
}

Core::Job* Core::attempt(const JobId& id, std::uint32_t number) {
  auto* const job = find(id);
  return job != nullptr && job->at_worker() && job->attempt == number ? job : nullptr;
}

}  // namespace llorch
