// The decision machine: every choice of the orchestrator, and nothing else. step() takes one event
// and says what is to be done about it; sockets, files, clocks and threads are the caller's. So a
// simulator can run a fleet for days in seconds, and replay any failure.
// Threads: one owner. Lifetime: the policy outlives it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/limits.h"
#include "orchestrator/core/decision.h"
#include "orchestrator/core/job_queue.h"
#include "orchestrator/core/prefix_index.h"
#include "orchestrator/core/service_record.h"
#include "orchestrator/core/worker.h"

namespace llorch {

struct CoreOptions {
  std::int64_t queue_capacity = 100;  // -1: unbounded
  bool drop_lru = false;              // a full queue gives up its oldest batch job
  QueueOrder order = QueueOrder::fair;
  Millis queue_timeout_ms = 300'000;
  Millis stall_ms = 60'000;
  Millis worker_dead_ms = limits::worker_dead_ms;  // unhealthy for so long
  std::uint64_t seed = 1;                          // of the jitter of retries
};

// Events
struct JobSubmitted {
  JobSpec job;
};
struct JobCancelled {
  JobId job;
};  // by its client, or because the client is gone
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
using Event = std::variant<JobSubmitted, JobCancelled, WorkerRegistered, WorkerBeat, WorkerProbed,
                           WorkerDrains, WorkerLeft, AttemptStarted, AttemptProgress, ClientStalled,
                           AttemptEnded, AttemptFailed, TimePassed>;

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
struct EndJob {
  JobId job;
  JobEnd end;
};  // the one terminal event of that job
struct JobChanged {
  JobId job;
  JobStatus status;
};  // queued again, or running
struct WorkerChanged {
  std::string worker_id;
};  // its row is to be written
struct ProbeWorker {
  std::string worker_id;
};  // answer with WorkerProbed
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

// What is known of a live job.
struct JobView {
  JobStatus status = JobStatus::queued;
  std::string worker_id;
  std::uint32_t attempt = 0;
  std::int64_t tokens_out = 0;
  std::int64_t queue_position = 0;  // 1 = next; 0 when not waiting
  Millis predicted_start_ms = 0;    // from now
};

class Core {
 public:
  Core(CoreOptions options, Policy& policy);
  ~Core();

  // Never fails: an event that no longer applies does nothing.
  std::vector<Action> step(Event event, Millis now);

  // No job is given to a worker any more; those that run are seen to their end.
  void stop_placing() { placing_ = false; }
  std::size_t jobs_at_workers() const { return busy_; }

  std::optional<JobView> job(const JobId& id, Millis now) const;
  const std::map<std::string, WorkerState>& workers() const { return workers_; }
  std::size_t queued(Priority priority) const { return queue_.size(priority); }
  std::size_t jobs_live() const { return jobs_.size(); }
  // A worker for that model is registered and not dead.
  bool serves(const std::string& model, const std::string& capability) const;
  // When a place for one more job of that model will probably be free, from how fast jobs end.
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

  std::optional<Error> refusal(const Job& job);
  void make_room(Job& newcomer);
  void wait_in_queue(Job& job);
  void place_waiting();
  enum class Placed { placed, refused, waits, nowhere };
  Placed place(Job& job);
  std::vector<const WorkerState*> eligible(const Job& job) const;
  bool can_serve(const WorkerState& worker, const Job& job) const;
  void dispatch(Job& job, const Candidate& chosen);
  void leave_worker(Job& job);
  void set_left(Job& job, double prefill, double decode);
  void fail_attempt(Job& job, Failure failure, Error error, bool resumable);
  bool may_retry(const Job& job, Failure failure, const Error& error);
  bool needs_larger_context(Job& job);
  Millis backoff(unsigned failures);
  void end_job(Job& job, JobEnd end);
  void fail_job(Job& job, Error error);

  void forget_address_of(const WorkerState& worker);
  void hear(WorkerState& worker);
  void mark_unhealthy(WorkerState& worker);
  void remove_worker(const std::string& id, bool clean_up);
  bool check_worker(WorkerState& worker);
  bool overdue(const Job& job) const;
  void give_up_or_move(Job& job);

  Job* attempt(const JobId& id, std::uint32_t number);
  Job* find(const JobId& id);
  WorkerState* worker(const std::string& id);
  std::int64_t position(const Job& job) const;
  Millis predicted_start(const Job& job) const;
  double expected_ms(const JobSpec& job, double expected_out) const;
  PolicyJob policy_job(const Job& job) const;

  CoreOptions options_;
  Policy& policy_;
  JobQueue queue_;
  PrefixIndex index_;
  ServiceRecord record_;
  std::mt19937_64 jitter_;
  std::map<std::string, WorkerState> workers_;
  Jobs jobs_;
  Millis now_ = 0;
  bool placing_ = true;
  std::size_t busy_ = 0;         // jobs at workers
  std::string job_model_;        // of the job being placed
  bool place_again_ = false;     // something changed that may let a waiting job start
  std::vector<Action> actions_;  // of the step in progress
};

}  // namespace llorch
