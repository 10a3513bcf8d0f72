// What the routes of the orchestrator share: the decision machine, the jobs, the way to workers. It
// gives the machine its events and carries out what it says.
// Threads: the io thread. Lifetime: outlives the sessions.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/second_quota.h"
#include "net/client.h"
#include "net/task_group.h"
#include "orchestrator/body_decoder.h"
#include "orchestrator/core/core.h"
#include "orchestrator/ended_jobs.h"
#include "orchestrator/external_server.h"
#include "orchestrator/job_record.h"
#include "orchestrator/journal.h"
#include "orchestrator/key_turns.h"
#include "orchestrator/keys/key_ring.h"
#include "orchestrator/keys/worker_owners.h"
#include "orchestrator/options.h"
#include "orchestrator/policy_replay.h"
#include "orchestrator/pool_cleaner.h"
#include "policy/policy_host.h"
#include "protocol/metrics_text.h"

namespace llorch {

// Milliseconds between two tokens.
std::vector<double> token_gap_bounds_ms();

struct ServiceFigures {
  std::map<std::string, std::uint64_t> enqueued;  // by outcome
  std::map<std::string, std::uint64_t> ended;     // by outcome
  Histogram scheduling_ms{duration_bounds_ms()};  // from acceptance to the first worker
  Histogram ttft_ms{duration_bounds_ms()};        // from acceptance to the first token
  Histogram itl_ms{token_gap_bounds_ms()};        // between two writes of tokens of one job
  std::map<std::pair<std::string, std::string>, std::uint64_t> dispatched;  // worker, outcome
  std::map<std::string, std::uint64_t> cancels;                             // by reason
};

class Orchestrator {
 public:
  Orchestrator(asio::io_context& io, const OrchestratorOptions& options, const Clock& clock,
               Policy& policy);
  // From now on a restart loses nothing. Before the first request.
  void write_down_in(Journal& journal);
  // Hosts of workers that have died are told from now on.
  void clean_up_by(PoolCleaner::Reach reach);
  // The policy's host, for its routes and its file; the decision machine asks it already.
  void govern_with(PolicyHost& host) { policy_host_ = &host; }
  PolicyHost* policy_host() { return policy_host_; }
  // Takes up again what a restart found.
  void take_up(Restored restored);

  // Begins the life of a job; what becomes of it is in the record at once.
  void submit(const std::shared_ptr<JobRecord>& job, JobSpec&& spec);
  void cancel(const JobId& id, std::string_view reason);
  // Live, or ended lately. Null: unknown.
  std::shared_ptr<JobRecord> find(const JobId& id) const;
  // The same, or from the store. Null: unknown.
  Task<std::shared_ptr<JobRecord>> recall(JobId id);
  Task<std::shared_ptr<JobRecord>> recall_row(JobId id);  // its frames do not matter
  // JSON of each, in order.
  Task<std::vector<std::string>> decisions(JobId id);
  Journal* journal() { return journal_; }
  KeyRing& keys() { return keys_; }
  const KeyRing& keys() const { return keys_; }
  WorkerOwners& worker_owners() { return worker_owners_; }
  // True once after a restart: what that worker has cached is not known here.
  bool forgot_cache_of(const std::string& worker_id) { return forgotten_.erase(worker_id) > 0; }
  PolicyReplay& replays() { return *replays_; }
  KeyTurns& key_turns() { return key_turns_; }
  BodyDecoder& decoder() { return decoder_; }
  const std::unordered_map<JobId, std::shared_ptr<JobRecord>>& jobs() const { return jobs_; }

  // One event for the decision machine.
  void tell(Event event);
  // Every limits::tick_ms: deadlines, probes, readers that have gone.
  Task<void> keep_time();

  const Core& core() const { return core_; }
  Millis now_ms() const;
  const Clock& clock() const { return clock_; }
  const OrchestratorOptions& options() const { return options_; }
  const std::string& machine_name() const { return machine_name_; }
  const ServiceFigures& figures() const { return figures_; }
  Executor executor() const { return executor_; }
  std::size_t streams_active() const;
  // The model that a name of a request stands for: [aliases] of the settings. They do not chain.
  std::string model_named(const std::string& asked) const;

  // Refuses new jobs and starts none that wait; those at workers go on.
  void drain();
  bool draining() const { return draining_; }
  void stop();
  net::TaskGroup& tasks() { return tasks_; }

  // Attempts (attempt.cpp)
  Task<void> run_attempt(std::shared_ptr<JobRecord> job, std::uint32_t attempt,
                         std::string worker_id);

  // Other people's servers (external_attempt.cpp). From now on they are asked whether they are
  // well.
  void join_external_servers();
  // Null: a worker of ours.
  const ExternalServer* external(const std::string& worker_id) const;
  net::HttpClient& client() { return client_; }
  bool stopped() const { return stopped_; }
  void note_token(JobRecord& job, SteadyTime at);

 private:
  friend class Attempt;
  Task<void> run_external(std::shared_ptr<JobRecord> job, std::uint32_t attempt,
                          const ExternalServer& server);
  Task<void> probe_external(std::string worker_id, const ExternalServer& server);
  void carry_out(Dispatch& action);
  void carry_out(AbortAttempt& action);
  void carry_out(EndJob& action);
  void carry_out(JobChanged& action);
  void carry_out(WorkerChanged& action);
  void carry_out(ProbeWorker& action);
  void carry_out(ForgetWorker& action);
  void carry_out(Record& action);
  Task<void> probe(std::string worker_id, net::Url url);
  bool admit(JobRecord& job);
  void forget_row(const std::string& worker_id);
  void note_progress(const JobRecord& job);
  void settle_quota(const JobRecord& job);
  void cancel_abandoned();
  void forget_ended();

  Executor executor_;
  const OrchestratorOptions& options_;
  const Clock& clock_;
  const SteadyTime started_at_;
  const std::string machine_name_;
  Core core_;
  net::HttpClient client_;
  net::TaskGroup tasks_;
  BodyDecoder decoder_;
  std::unordered_map<JobId, std::shared_ptr<JobRecord>> jobs_;
  EndedJobs ended_tasks_{limits::ended_tasks_max};
  EndedJobs ended_replies_{limits::ended_replies_max};
  std::unordered_map<JobId, std::vector<std::string>>
      decisions_;                     // what the store may not have yet
  std::deque<JobId> decided_lately_;  // whose those are
  SecondQuota refusals_kept_{limits::refusals_kept_max};
  KeyRing keys_;
  WorkerOwners worker_owners_;
  std::set<std::string> forgotten_;  // restored workers that have not been heard yet
  std::map<std::string, const ExternalServer*> external_;  // by worker id
  std::map<std::string, std::string> external_problem_;    // by worker id; empty: it is well
  Journal* journal_ = nullptr;
  KeyTurns key_turns_;
  std::unique_ptr<PolicyReplay> replays_;
  std::unique_ptr<PoolCleaner> cleaner_;  // null: nobody is told
  PolicyHost* policy_host_ = nullptr;
  std::optional<SteadyTime> swept_at_;  // when old jobs were last forgotten
  std::deque<Action> to_do_;
  bool doing_ = false;
  bool draining_ = false;
  bool stopped_ = false;
  ServiceFigures figures_;
};

// Where a worker listens. The path is "/".
net::Url worker_url(const Registration& registration);
// The frame by which a job that did not complete ends, in the words of its kind.
std::string last_frame(const JobRecord& job, const JobEnd& end);

}  // namespace llorch
