// The decision machine: every choice of the orchestrator, and nothing else. step() takes one event
// and says what is to be done about it; sockets, files, clocks and threads are the caller's. So a
// simulator can run a fleet for days in seconds, and replay any failure.
// Threads: one owner. Lifetime: the policy outlives it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/limits.h"
#include "orchestrator/core/decision.h"
#include "orchestrator/core/forecast.h"
#include "orchestrator/core/job_queue.h"
#include "orchestrator/core/job_view.h"
#include "orchestrator/core/outages.h"
#include "orchestrator/core/prefix_index.h"
#include "orchestrator/core/service_record.h"
#include "orchestrator/core/worker.h"

namespace llorch {

struct CoreOptions {
  std::int64_t queue_capacity = 100;  // -1: unbounded
  bool drop_lru = false;              // a full queue gives up its oldest batch job
  QueueOrder order = QueueOrder::fair;
  double oldest_share = JobQueue::oldest_share_usual;
  Millis queue_timeout_ms = 300'000;
  Millis stall_ms = 60'000;
  Millis worker_dead_ms = limits::worker_dead_ms;  // unhealthy for so long
  std::uint64_t seed = 1;                          // of the jitter of retries
};

// Events
struct JobSubmitted {
  JobSpec job;
};
struct JobCancelled {  // by its client, or because the client is gone
  JobId job;
};
struct WorkerRegistered {
  Registration registration;
  bool external = false;
  bool fallback = false;
};
struct WorkerBeat {
  std::string worker_id;
  Heartbeat beat;
};
struct WorkerProbed {
  std::string worker_id;
  bool good = false;
};
struct WorkerDrains {
  std::string worker_id;
};
struct WorkerLeft {
  std::string worker_id;
};
// The next four are of one attempt; those of an older one are ignored.
struct AttemptStarted {
  JobId job;
  std::uint32_t attempt;
  std::int64_t prompt_tokens, cached_tokens;
};
// Only what has grown counts as progress. tokens_out counts the whole job's.
struct AttemptProgress {
  JobId job;
  std::uint32_t attempt;
  std::int64_t tokens_out = 0;
  std::int64_t prompt_done = 0;
  std::uint64_t engine_step = 0;
};
// The client takes nothing, so nothing is read from the worker: no fault of the worker.
struct ClientStalled {
  JobId job;
  std::uint32_t attempt;
};
struct AttemptEnded {
  JobId job;
  std::uint32_t attempt;
  std::int64_t tokens_out;
  StopReason reason;
};
// `started`: the worker had answered at all. `tokens_out`: what the client has, or will have.
struct AttemptFailed {
  JobId job;
  std::uint32_t attempt;
  std::int64_t tokens_out = 0;
  Failure failure = Failure::worker_lost;
  Error error;
  bool resumable = true;  // the job can go on elsewhere from its tokens
};
struct TimePassed {};
struct Draining {};  // we stop: nothing new begins, and what waits with its connection ends
using Event = std::variant<JobSubmitted, JobCancelled, WorkerRegistered, WorkerBeat, WorkerProbed,
                           WorkerDrains, WorkerLeft, AttemptStarted, AttemptProgress, ClientStalled,
                           AttemptEnded, AttemptFailed, TimePassed, Draining>;

// Actions, to be carried out in their order
struct Dispatch {
  JobId job;
  std::uint32_t attempt;
  std::string worker_id;
};
struct AbortAttempt {
  JobId job;
  std::uint32_t attempt;
  std::string worker_id;
};
struct EndJob {  // the one terminal event of that job
  JobId job;
  JobEnd end;
};
struct JobChanged {  // queued again, or running
  JobId job;
  JobStatus status;
};
struct WorkerChanged {  // its row is to be written
  std::string worker_id;
};
struct ProbeWorker {  // answer with WorkerProbed
  std::string worker_id;
};
struct ForgetWorker {
  std::string worker_id;
  std::string pool_host;
  bool clean_up = false;
};
struct Record {
  Decision decision;
};
using Action = std::variant<Dispatch, AbortAttempt, EndJob, JobChanged, WorkerChanged, ProbeWorker,
                            ForgetWorker, Record>;

class Core {
 public:
  Core(CoreOptions options, Policy& policy);
  ~Core();

  // Never fails: an event that no longer applies does nothing.
  std::vector<Action> step(Event event, Millis now);

  std::size_t jobs_at_workers() const { return busy_; }

  std::optional<JobView> job(const JobId& id, Millis now) const;
  const std::map<std::string, WorkerState>& workers() const { return workers_; }
  std::size_t queued(Priority priority) const { return queue_.size(priority); }
  std::size_t jobs_live() const { return jobs_.size(); }
  // Service given to a tenant's jobs: what the order between tenants goes by.
  double served(const std::string& tenant) const { return queue_.served(tenant); }
  // A worker for that model is registered and not dead.
  bool serves(const std::string& model, const std::string& capability) const;
  // When that model will probably have a worker again.
  Millis worker_expected_ms(const std::string& model, Millis now) const;
  // When a place in the queue will probably be free: when the next job ends.
  Millis retry_after_ms(Millis now) const;

 private:
  struct Job;
  using Jobs = std::unordered_map<JobId, std::unique_ptr<Job>>;

  void on(JobSubmitted& event);
  void on(JobCancelled& event);
  void on(WorkerRegistered& event);
  void on(WorkerBeat& event);
  void on(WorkerProbed& event);
  void on(WorkerDrains& event);
  void on(WorkerLeft& event);
  void on(AttemptStarted& event);
  void on(AttemptProgress& event);
  void on(ClientStalled& event);
  void on(AttemptEnded& event);
  void on(AttemptFailed& event);
  void on(TimePassed& event);
  void on(Draining& event);

  std::optional<Error> refusal(Job& job);
  Decision decision_of(const Job& job) const;
  void make_room(Job& newcomer);
  void wait_in_queue(Job& job);
  void place_waiting();
  void place_waiting(const std::string& model);
  enum class Placed { placed, refused, waits, nowhere };
  Placed place(Job& job);
  void let_others_go_first(const std::vector<Job*>& jobs);
  std::vector<const WorkerState*> eligible(const Job& job) const;
  bool can_serve(const WorkerState& worker, const Job& job) const;
  bool open_for_work(const WorkerState& worker) const;
  bool refused_for_good(Job& job, const std::string& by, Failure failure, const Error& error) const;
  void dispatch(Job& job, const Candidate& chosen);
  void leave_worker(Job& job);
  void set_left(Job& job, double prefill, double decode);
  void fail_attempt(Job& job, Failure failure, Error error, bool resumable);
  bool may_retry(const Job& job, const std::string& from, Failure failure, const Error& error);
  bool needs_larger_context(Job& job);
  Millis backoff(unsigned failures);
  void end_job(Job& job, JobEnd end);
  void fail_job(Job& job, Error error);

  void forget_address_of(const WorkerState& worker);
  void hear(WorkerState& worker);
  void note_service(const std::string& model);
  void forgive_standstill();
  void mark_unhealthy(WorkerState& worker);
  void remove_worker(const std::string& id, bool clean_up);
  bool check_worker(WorkerState& worker);
  bool overdue(const Job& job) const;
  void give_up_or_move(Job& job);

  Job* attempt(const JobId& id, std::uint32_t number);
  Job* find(const JobId& id);
  WorkerState* worker(const std::string& id);
  std::int64_t position(const Job& job) const;
  struct Prediction {
    Millis start_in_ms, length_ms;
  };
  Prediction predict(const Job& job) const;
  double left_ms(const Job& job, const Lane& pace) const;
  Lane pace_of(const WorkerState& worker) const;
  static std::optional<double> own_ms_per_token(const Job& job);
  void learn_pace(const Job& job);
  Forecast forecast(const std::string& model) const;
  std::optional<double> next_end_ms(const std::string& model) const;
  void learn_prefix(const Job& job, const WorkerState& worker, const AttemptStarted& told);
  double expected_ms(const JobSpec& job, double expected_out) const;
  PolicyJob policy_job(const Job& job) const;

  CoreOptions options_;
  Policy& policy_;
  JobQueue queue_;
  PrefixIndex index_;
  ServiceRecord record_;
  Outages outages_;
  std::mt19937_64 jitter_;
  std::map<std::string, WorkerState> workers_;
  Jobs jobs_;
  Millis now_ = 0, ticked_at_ms_ = 0;
  bool draining_ = false;
  std::size_t busy_ = 0;         // jobs at workers
  bool place_again_ = false;     // something changed that may let a waiting job start
  std::vector<Action> actions_;  // of the step in progress
};

}  // namespace llorch
