#include "orchestrator/service.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "orchestrator/decision_text.h"
#include "protocol/error_body.h"
#include "protocol/job_stream.h"
#include "protocol/json_text.h"
#include "protocol/worker_api.h"
#include "sys/host.h"

namespace llorch {
namespace {

using std::chrono::milliseconds;

CoreOptions core_options(const OrchestratorOptions& options) {
  return {.queue_capacity = options.queue_capacity,
          .drop_lru = options.drop_lru,
          .order = options.order,
          .queue_timeout_ms = options.queue_timeout_ms,
          .stall_ms = options.stall_ms,
          .worker_dead_ms = options.worker_dead_ms,
          .seed = options.seed};
}

// Set while actions are carried out, also when one of them throws.
class Doing {
 public:
  explicit Doing(bool& flag) : flag_(flag) { flag_ = true; }
  ~Doing() { flag_ = false; }
  Doing(const Doing&) = delete;
  Doing& operator=(const Doing&) = delete;

 private:
  bool& flag_;
};

// Of the frame that ends a job: behind everything its readers may have.
std::int64_t last_seq(const JobRecord& job) {
  const auto kept = job.frames.empty() ? 0 : job.frames.back().seq + 1;
  return std::max(job.next_seq(), kept);
}

}  // namespace

net::Url worker_url(const Registration& registration) {
  net::Url url;
  url.scheme = "http";
  url.host = registration.host;
  url.port = registration.port;
  return url;
}

std::string last_frame(const JobRecord& job, const JobEnd& end) {
  std::string frame;
  const auto error =
      end.error.value_or(Error{.code = Code::cancelled, .message = "the request was cancelled"});
  if (job.kind == JobKind::task) {
    if (end.status == JobStatus::cancelled) {
      std::string data;
      JsonObjectWriter(data)
          .string("type", "end")
          .integer("tokens_out", static_cast<std::int64_t>(job.tokens.size()))
          .string("stop_reason", wire_name(StopReason::CANCELLED))
          .end();
      append_sse_frame(frame, std::to_string(last_seq(job)), "end", data);
    } else {
      append_error_event(frame, last_seq(job), error, job.correlation_id);
    }
    return frame;
  }
  append_sse_frame(frame, {}, {}, error_body(error, job.correlation_id, ErrorShape::openai));
  append_sse_frame(frame, {}, {}, "[DONE]");
  return frame;
}

Orchestrator::Orchestrator(asio::io_context& io, const OrchestratorOptions& options,
                           const Clock& clock, Policy& policy)
    : executor_(io.get_executor()),
      options_(options),
      clock_(clock),
      started_at_(clock.now()),
      machine_name_(read_host_facts().name),
      core_(core_options(options), policy),
      client_(io),
      tasks_(io.get_executor()),
      decoder_(io.get_executor()),
      keys_(options.api_token),
      key_turns_(io.get_executor()) {}

std::vector<double> token_gap_bounds_ms() {
  return {1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 250, 500, 1'000, 2'500, 10'000};
}

void Orchestrator::write_down_in(Journal& journal) {
  journal_ = &journal;
  replays_ = std::make_unique<PolicyReplay>(executor_, journal.store());
}

void Orchestrator::clean_up_by(PoolCleaner::Reach reach) {
  cleaner_ = std::make_unique<PoolCleaner>(
      options_.pools, std::move(reach), [this](std::string worker_id) {
        asio::post(executor_, [this, id = std::move(worker_id)] { forget_row(id); });
      });
}

Millis Orchestrator::now_ms() const {
  return static_cast<Millis>(elapsed_ms(started_at_, clock_.now()));
}

void Orchestrator::submit(const std::shared_ptr<JobRecord>& job, JobSpec&& spec) {
  job->accepted_at = clock_.now();
  jobs_.emplace(job->id, job);
  job->tokens_charged = spec.prompt_tokens_estimate;
  keys_.charge(job->key_id, job->tokens_charged, now_ms());
  tell(JobSubmitted{std::move(spec)});
  const auto view = core_.job(job->id, now_ms());
  job->queue_position = view ? view->queue_position : 0;
  const auto* const refused = job->error();
  if (refused == nullptr) admit(*job);
  ++figures_.enqueued[refused == nullptr ? "accepted" : std::string(wire_name(refused->code))];
}

// It is in: what becomes of it is kept. True: its row has just been written, as it is now.
bool Orchestrator::admit(JobRecord& job) {
  const bool fresh = !std::exchange(job.admitted, true);
  if (!fresh || job.kind == JobKind::task || journal_ == nullptr) return false;
  journal_->begun(job);
  return true;
}

void Orchestrator::cancel(const JobId& id, std::string_view reason) {
  const auto job = find(id);
  if (!job || job->end) return;
  ++figures_.cancels[std::string(reason)];
  tell(JobCancelled{id});
}

std::shared_ptr<JobRecord> Orchestrator::find(const JobId& id) const {
  const auto found = jobs_.find(id);
  return found == jobs_.end() ? nullptr : found->second;
}

Task<std::shared_ptr<JobRecord>> Orchestrator::recall(JobId id) {
  if (auto job = find(id)) co_return job;
  if (journal_ == nullptr) co_return nullptr;
  co_return co_await journal_->recall(id);
}

Task<std::shared_ptr<JobRecord>> Orchestrator::recall_row(JobId id) {
  if (auto job = find(id)) co_return job;
  if (journal_ == nullptr) co_return nullptr;
  co_return co_await journal_->recall_row(id);
}

// Those from before a restart are in the store alone, the newest perhaps in memory alone.
Task<std::vector<std::string>> Orchestrator::decisions(JobId id) {
  std::vector<std::string> all;
  if (journal_ != nullptr) all = co_await journal_->decisions(id);
  const auto found = decisions_.find(id);
  if (found == decisions_.end()) co_return all;
  for (const auto& decision : found->second) {
    if (std::find(all.begin(), all.end(), decision) == all.end()) all.push_back(decision);
  }
  co_return all;
}

void Orchestrator::take_up(Restored restored) {
  keys_.load(std::move(restored.keys));
  for (const auto& charge : restored.charges) {
    const auto ago_ms = std::max<Millis>(unix_ms(clock_.wall()) - charge.ended_at_ms, 0);
    keys_.charge(charge.key_id, charge.tokens, now_ms() - ago_ms);
  }
  for (auto& [registration, draining, owner] : restored.workers) {
    const auto id = registration.worker_id;
    if (owner) worker_owners_.restore(id, std::move(*owner));
    forgotten_.insert(id);
    tell(WorkerRegistered{.registration = std::move(registration)});
    tell(WorkerProbed{id, false});  // until it shows that it is still there
    if (draining) tell(WorkerDrains{id});
  }
  for (auto& [job, spec, last, damaged] : restored.tasks) {
    job->accepted_at = clock_.now() - std::max(clock_.wall() - job->accepted_wall, {});
    jobs_.emplace(job->id, job);
    if (last) {
      // Its readers have its end already; only our note of it is missing.
      job->closed = job->finished = true;
      EndJob end{job->id, std::move(*last)};
      carry_out(end);
      continue;
    }
    if (damaged) {
      EndJob end{job->id,
                 {.status = JobStatus::failed,
                  .error = Error{.code = Code::worker_lost,
                                 .message = "frames of this task were lost in a crash"},
                  .stop_reason = {}}};
      carry_out(end);
      continue;
    }
    tell(JobSubmitted{std::move(spec)});
  }
  log_event(LogLevel::info, "orchestrator", "restored",
            {{"workers", static_cast<std::int64_t>(restored.workers.size())},
             {"tasks", static_cast<std::int64_t>(restored.tasks.size())}});
}

std::string Orchestrator::model_named(const std::string& asked) const {
  const auto alias = options_.aliases.find(asked);
  return alias == options_.aliases.end() ? asked : alias->second;
}

std::size_t Orchestrator::streams_active() const {
  std::size_t active = 0;
  for (const auto& [id, job] : jobs_) {
    if (job->status == JobStatus::running) ++active;
  }
  return active;
}

// An action may itself tell the machine something: its actions wait for their turn.
void Orchestrator::tell(Event event) {
  auto actions = core_.step(std::move(event), now_ms());
  to_do_.insert(to_do_.end(), std::make_move_iterator(actions.begin()),
                std::make_move_iterator(actions.end()));
  if (doing_) return;
  const Doing doing(doing_);
  while (!to_do_.empty()) {
    auto action = std::move(to_do_.front());
    to_do_.pop_front();
    std::visit([this](auto& what) { carry_out(what); }, action);
  }
}

void Orchestrator::carry_out(Dispatch& action) {
  const auto job = find(action.job);
  if (!job || stopped_) return;
  job->status = JobStatus::dispatched;
  job->attempt = action.attempt;
  job->worker_id = action.worker_id;
  if (!job->dispatched_wall) {
    figures_.scheduling_ms.observe(elapsed_ms(job->accepted_at, clock_.now()));
    job->dispatched_wall = clock_.wall();
  }
  ++figures_.dispatched[{action.worker_id, "dispatched"}];
  if (!admit(*job)) note_progress(*job);
  tasks_.spawn(run_attempt(job, action.attempt, action.worker_id));
}

void Orchestrator::carry_out(AbortAttempt& action) {
  const auto job = find(action.job);
  if (!job || job->attempt != action.attempt) return;
  if (const auto abort = std::exchange(job->abort, nullptr)) abort();
}

void Orchestrator::carry_out(EndJob& action) {
  const auto job = find(action.job);
  if (!job) return;
  job->status = action.end.status;
  job->end = action.end;
  job->ended_wall = clock_.wall();
  const std::string outcome(wire_name(job->status));
  if (!job->worker_id.empty()) ++figures_.dispatched[{job->worker_id, outcome}];
  if (job->admitted) ++figures_.ended[outcome];
  if (job->status != JobStatus::completed && !job->closed) {
    auto frame = last_frame(*job, action.end);
    if (job->kind == JobKind::task) {
      const auto seq = last_seq(*job);
      if (journal_ != nullptr && job->admitted) journal_->keep(job->id, seq, frame);
      job->frames.push_back({seq, std::move(frame)});
    } else if (job->stream) {
      job->pending += frame;
    }
    job->closed = true;
  }
  if (journal_ != nullptr && job->admitted) journal_->ended(job);
  settle_quota(*job);
  job->show_frames();
  job->body.clear();
  job->request.reset();
  job->abort = nullptr;
  job->bell.ring();
  job->room.ring();
  log_event(LogLevel::info, "orchestrator", "job_ended",
            {{"job_id", job->id.value},
             {"correlation_id", job->correlation_id},
             {"status", wire_name(job->status)},
             {"worker_id", job->worker_id},
             {"attempt", static_cast<std::int64_t>(job->attempt)},
             {"tokens_out", static_cast<std::int64_t>(job->tokens.size())},
             {"code", job->error() == nullptr ? "" : wire_name(job->error()->code)}});
  auto bytes = job->bytes_kept();
  const auto decided = decisions_.find(job->id);
  if (decided != decisions_.end()) {
    for (const auto& text : decided->second) bytes += text.size();
  }
  auto& ended = job->kind == JobKind::task ? ended_tasks_ : ended_replies_;
  ended.add(job->id, bytes, clock_.now());
  forget_ended();
}

// What the job really used, instead of what was taken for its prompt. Nobody counts the tokens of
// embeddings here: the estimate stays.
void Orchestrator::settle_quota(const JobRecord& job) {
  if (job.kind == JobKind::embeddings && job.status == JobStatus::completed) return;
  const auto used = job.prompt_tokens + static_cast<std::int64_t>(job.tokens.size());
  keys_.charge(job.key_id, used - job.tokens_charged, now_ms());
}

void Orchestrator::forget_ended() {
  for (auto* const ended : {&ended_tasks_, &ended_replies_}) {
    for (const auto& id : ended->surplus(clock_.now())) {
      jobs_.erase(id);
      decisions_.erase(id);
    }
  }
}

void Orchestrator::carry_out(JobChanged& action) {
  const auto job = find(action.job);
  if (!job) return;
  job->status = action.status;
  if (action.status == JobStatus::queued) {
    ++figures_.dispatched[{job->worker_id, "moved"}];
    job->worker_id.clear();
  }
  note_progress(*job);
  job->bell.ring();
}

void Orchestrator::carry_out(WorkerChanged& action) {
  const auto found = core_.workers().find(action.worker_id);
  if (found == core_.workers().end()) return;
  const bool ours = external(action.worker_id) == nullptr;  // others are in the settings
  if (journal_ != nullptr && ours) {
    journal_->worker_changed(found->second, worker_owners_.owner(action.worker_id));
  }
  log_event(LogLevel::info, "orchestrator", "worker_changed",
            {{"worker_id", action.worker_id},
             {"status", wire_name(found->second.status)},
             {"draining", found->second.draining},
             {"model", found->second.registration.model}});
}

void Orchestrator::carry_out(ProbeWorker& action) {
  const auto found = core_.workers().find(action.worker_id);
  if (found == core_.workers().end() || stopped_) return;
  if (const auto* const server = external(action.worker_id)) {
    return tasks_.spawn(probe_external(action.worker_id, *server));
  }
  tasks_.spawn(probe(action.worker_id, worker_url(found->second.registration)));
}

void Orchestrator::carry_out(ForgetWorker& action) {
  worker_owners_.forget(action.worker_id);
  forgotten_.erase(action.worker_id);
  // A row that waits for its cleanup is found again after a restart.
  const bool told = action.clean_up && cleaner_ != nullptr &&
                    cleaner_->clean_up_after(action.worker_id, action.pool_host);
  if (!told) forget_row(action.worker_id);
  std::erase_if(figures_.dispatched,
                [&](const auto& entry) { return entry.first.first == action.worker_id; });
  log_event(LogLevel::info, "orchestrator", "worker_forgotten",
            {{"worker_id", action.worker_id}, {"clean_up", action.clean_up}});
}

void Orchestrator::forget_row(const std::string& worker_id) {
  const bool back = core_.workers().contains(worker_id);  // registered again meanwhile
  if (journal_ != nullptr && !back) journal_->worker_gone(worker_id);
}

// When tokens of the job were read, and so written to its reader.
void Orchestrator::note_token(JobRecord& job, SteadyTime at) {
  if (job.tokens.empty()) {
    figures_.ttft_ms.observe(elapsed_ms(job.accepted_at, at));
  } else if (job.token_at != SteadyTime{}) {
    figures_.itl_ms.observe(elapsed_ms(job.token_at, at));
  }
  job.token_at = at;
}

void Orchestrator::carry_out(Record& action) {
  auto text = decision_text(action.decision);
  // A flood that a policy refuses must not push a week's placements out of the store.
  const bool refused = action.decision.kind == Decision::Kind::rejected;
  const bool stays = !refused || refusals_kept_.take(clock_.now());
  if (journal_ != nullptr && stays) {
    journal_->decided(action.decision.job, action.decision.attempt, text);
  }
  decisions_[action.decision.job].push_back(std::move(text));
  if (journal_ == nullptr) return;
  // Of a thousand long streams the store has them for long: each is a kilobyte.
  constexpr std::size_t lately_max = 1'024;
  decided_lately_.push_back(action.decision.job);
  if (decided_lately_.size() <= lately_max) return;
  decisions_.erase(decided_lately_.front());
  decided_lately_.pop_front();
}

void Orchestrator::note_progress(const JobRecord& job) {
  if (journal_ == nullptr || !job.admitted) return;
  const auto worker = core_.workers().find(job.worker_id);
  // Only a task goes on after a restart, from tokens that mean the same there.
  const bool known = job.kind == JobKind::task && worker != core_.workers().end();
  journal_->changed(
      job, known ? std::optional(worker->second.registration.tokenizer_hash) : std::nullopt);
}

Task<void> Orchestrator::probe(std::string worker_id, net::Url url) {
  url.target = "/health";
  const net::HttpRequest request;
  const auto reply =
      co_await client_.fetch(std::move(url), request, milliseconds(limits::probe_wait_ms));
  // Another worker may have taken the port.
  const auto health = reply && reply->status == 200 ? decode_health(reply->body)
                                                    : Result<Health>(fail(Code::unreachable, ""));
  const bool good = health && health->worker_id == worker_id;
  if (!stopped_) tell(WorkerProbed{std::move(worker_id), good});
}

Task<void> Orchestrator::keep_time() {
  while (!stopped_) {
    co_await net::sleep_for(milliseconds(limits::tick_ms));
    if (stopped_) break;
    tell(TimePassed{});
    cancel_abandoned();
    forget_ended();
    if (policy_host_ != nullptr) policy_host_->tick();
    if (journal_ != nullptr) journal_->try_again();
    const auto now = clock_.now();
    const bool due =
        !swept_at_ || elapsed_ms(*swept_at_, now) > static_cast<double>(limits::sweep_ms);
    if (journal_ != nullptr && due) {
      swept_at_ = now;
      journal_->forget_old();
    }
  }
}

// A task whose readers have all left ends after their grace; one that was never read goes on.
void Orchestrator::cancel_abandoned() {
  if (draining_) return;  // it is we who have cut their readers off
  const auto now = clock_.now();
  std::vector<JobId> abandoned;
  for (const auto& [id, job] : jobs_) {
    const auto& since = job->alone_since;
    if (job->end || !since) continue;
    const auto alone_ms = elapsed_ms(*since, now);
    if (alone_ms >= static_cast<double>(options_.task_grace_ms)) abandoned.push_back(id);
  }
  for (const auto& id : abandoned) cancel(id, "client_gone");
}

void Orchestrator::drain() {
  draining_ = true;
  tell(Draining{});
  for (const auto& [id, job] : jobs_) job->bell.ring();  // readers of tasks that wait leave
}

void Orchestrator::stop() {
  stopped_ = true;
  if (replays_ != nullptr) replays_->abandon();
  tasks_.cancel();
}

}  // namespace llorch
