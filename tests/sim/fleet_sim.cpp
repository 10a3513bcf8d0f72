#include "sim/fleet_sim.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "base/limits.h"
#include "sim/order_rules.h"
#include "sim/sim_policy.h"

namespace llorch {
namespace {

constexpr std::size_t broken_max = 5;  // more says nothing new

struct Happening {
  Millis at;
  std::uint64_t order;  // of two at the same time
  std::function<void()> what;
  bool operator<(const Happening& other) const {
    return at != other.at ? at > other.at : order > other.order;
  }
};

struct Machine {
  Registration registration;
  double prefill_per_s = 300, decode_per_s = 50;
  bool up = true, hangs = false, registered = false;
  int life = 0;  // changes when it restarts
  std::set<std::string> running;
};

struct Client {
  JobSpec spec;
  Millis submitted = -1;
  std::int64_t wants_tokens = 1;
  std::int64_t tokens = 0;
  std::int64_t tokens_before = 0;  // the restart
  int ends = 0;
  JobStatus status = JobStatus::queued;
  bool at_worker = false;
  std::uint32_t attempt = 0;
  bool attempted = false;
  std::string worker;
  std::string tokenizer;  // of the worker that made its tokens
  Millis waiting_since = -1;
};

constexpr std::int64_t prompt_tokens_most = 800, tokens_most = 256;

OrderRules::Bounds order_bounds(const CoreOptions& core) {
  JobSpec largest;
  largest.prompt_tokens_estimate = prompt_tokens_most;
  largest.max_tokens = tokens_most;
  return {.oldest_share = core.oldest_share,
          .largest = OrderRules::cost(largest),
          .promote_after_ms = limits::promote_batch_ms};
}

class Simulation {
 public:
  Simulation(const SimOptions& options, Fault fault)
      : options_(options),
        fault_(fault),
        random_(options.seed),
        policy_(options.fickle_policy, fault == Fault::ignore_policy, options.seed),
        core_(std::make_unique<Core>(core_options(), policy_)),
        rules_(order_bounds(options.core)) {}

  SimReport run();

 private:
  CoreOptions core_options() const {
    auto core = options_.core;
    core.seed = options_.seed;
    if (fault_ == Fault::unfair_order) core.order = QueueOrder::fifo;
    if (fault_ == Fault::starve) core.oldest_share = 0;
    return core;
  }
  double uniform() { return std::uniform_real_distribution<>(0, 1)(random_); }
  std::int64_t between(std::int64_t least, std::int64_t most) {
    return std::uniform_int_distribution<std::int64_t>(least, most)(random_);
  }
  void at(Millis when, std::function<void()> what) {
    agenda_.push({std::max(when, now_), order_++, std::move(what)});
  }
  void broken(const std::string& rule) {
    if (report_.broken.size() < broken_max) {
      report_.broken.push_back("at " + std::to_string(now_) + " ms: " + rule);
    }
  }

  void make_machines();
  void make_jobs();
  void make_trouble();
  void beat(const std::string& id, int life);
  void tick();
  void submit(const std::string& id);
  void restart();
  void restore(const std::string& id);
  void tell(Event event);
  void carry_out(Action& action);
  void begin(Dispatch& action);
  void check_order(const std::string& job);
  double served(const std::string& tenant) const {
    return fault_ == Fault::uncharged ? 0 : core_->served(tenant);
  }
  void step_attempt(const std::string& job, std::uint32_t attempt, int life);
  void lose_streams(Machine& machine, Failure failure);
  void end(EndJob& action);
  void check();

  const SimOptions options_;
  const Fault fault_;
  std::mt19937_64 random_;
  SimPolicy policy_;
  std::unique_ptr<Core> core_;
  OrderRules rules_;
  std::map<std::string, double> generated_;  // tokens of each tenant's ended jobs, of this core
  bool restoring_ = false;
  std::priority_queue<Happening> agenda_;
  std::uint64_t order_ = 0;
  Millis now_ = 0;
  Millis jumped_ = 0;  // what the machine's clock is ahead of the agenda's
  std::map<std::string, Machine> machines_;
  std::map<std::string, Client> clients_;
  bool planted_ = false;
  std::size_t live_ = 0;  // submitted, without an end
  std::size_t ended_ = 0;
  SimReport report_;
};

void Simulation::make_machines() {
  for (int i = 0; i < options_.workers; ++i) {
    Machine machine;
    auto& told = machine.registration;
    told.worker_id = "w" + std::to_string(i);
    told.host = "h" + std::to_string(i);
    told.model = i % 3 == 2 ? "other" : "main";
    told.slots_total = static_cast<std::int32_t>(between(1, 4));
    told.context_tokens = 100'000;
    told.tokenizer_hash = told.model + (i % 4 == 3 ? " 2" : "");
    told.instance_id = "0";
    machine.prefill_per_s = static_cast<double>(between(50, 3'000));
    machine.decode_per_s = static_cast<double>(between(5, 200));
    const auto id = told.worker_id;
    machines_.emplace(id, machine);
    at(between(0, 3'000), [this, id] { beat(id, 0); });
  }
}

void Simulation::make_jobs() {
  for (int i = 0; i < options_.jobs; ++i) {
    Client client;
    auto& spec = client.spec;
    spec.id.value = "j" + std::to_string(i);
    spec.model = uniform() < 0.7 ? "main" : "other";
    spec.tenant = "t" + std::to_string(between(0, between(0, 3)));  // some ask for far more
    spec.priority = uniform() < 0.7 ? Priority::interactive : Priority::batch;
    spec.prompt_tokens_estimate = between(1, prompt_tokens_most);
    spec.prompt_bytes = spec.prompt_tokens_estimate * 4;
    spec.prefix_chain = {static_cast<PrefixHash>(between(1, 8))};
    client.wants_tokens = uniform() < 0.7 ? between(1, 24) : between(25, tokens_most);
    spec.max_tokens = client.wants_tokens;
    const auto when = between(3'500, 3'500 + options_.arrivals_ms);
    if (uniform() < 0.05) spec.deadline_at_ms = when + between(500, 60'000);
    const auto id = spec.id.value;
    clients_.emplace(id, std::move(client));
    at(when, [this, id] { submit(id); });
    if (uniform() < 0.1) {
      at(when + between(0, 20'000), [this, id] { tell(JobCancelled{JobId{id}}); });
    }
  }
}

void Simulation::submit(const std::string& id) {
  auto& job = clients_.at(id);
  job.submitted = job.waiting_since = now_;
  // From here on in the time of the orchestrator's machine.
  if (job.spec.deadline_at_ms) *job.spec.deadline_at_ms += jumped_;
  ++live_;
  rules_.waits(job.spec, now_ + jumped_);
  tell(JobSubmitted{job.spec});
}

// kill -9 and a start: what was accepted is read back, the workers are asked whether they live.
void Simulation::restart() {
  std::vector<Registration> known;
  for (const auto& [id, worker] : core_->workers()) known.push_back(worker.registration);
  for (auto& [id, machine] : machines_) machine.running.clear();
  core_ = std::make_unique<Core>(core_options(), policy_);
  rules_.forget_all();
  generated_.clear();
  restoring_ = true;
  for (auto& registration : known) {
    const auto id = registration.worker_id;
    tell(WorkerRegistered{.registration = std::move(registration)});
    tell(WorkerProbed{id, false});
  }
  for (auto& [id, client] : clients_) {
    if (client.submitted < 0 || client.ends > 0) continue;
    client.at_worker = false;
    client.waiting_since = now_;
    client.tokens_before = client.tokens;
    if (fault_ == Fault::lose_restored && !std::exchange(planted_, true)) continue;
    restore(id);
  }
  restoring_ = false;
  check();
}

void Simulation::restore(const std::string& id) {
  auto& client = clients_.at(id);
  auto spec = client.spec;
  spec.restored = true;
  spec.attempt = client.attempt + (fault_ == Fault::repeat_attempt ? 0U : 1U);
  spec.tokens_out = client.tokens;
  spec.tokenizer_hash = client.tokenizer;
  if (!spec.deadline_at_ms) spec.deadline_at_ms = now_ + jumped_ + limits::job_timeout_ms;
  client.spec.deadline_at_ms = spec.deadline_at_ms;
  if (spec.tokens_out == 0) rules_.waits(spec, now_ + jumped_);
  tell(JobSubmitted{std::move(spec)});
}

void Simulation::make_trouble() {
  for (int i = 0; i < options_.restarts; ++i) {
    at(between(5'000, options_.trouble_ms), [this] { restart(); });
  }
  const auto gap = static_cast<std::int64_t>(1'000 / options_.trouble_per_s);
  for (Millis when = 5'000; when < options_.trouble_ms; when += between(1, 2 * gap)) {
    const auto id = "w" + std::to_string(between(0, options_.workers - 1));
    const auto kind = between(0, 4);
    const auto lasts = between(500, 20'000);
    at(when, [this, id, kind, lasts] {
      auto& machine = machines_.at(id);
      if (kind == 0) {  // kill -9, and a restart
        machine.up = machine.registered = false;
        const auto life = ++machine.life;
        lose_streams(machine, Failure::worker_lost);
        at(now_ + lasts, [this, id, life] {
          auto& back = machines_.at(id);
          if (back.life != life) return;
          back.up = true;
          back.registration.instance_id = std::to_string(life);
          beat(id, life);
        });
      } else if (kind == 1) {  // it hangs: no beat, no token, connections stay open
        machine.hangs = true;
        at(now_ + lasts, [this, id] { machines_.at(id).hangs = false; });
      } else if (kind == 2) {
        tell(WorkerDrains{id});
        at(now_ + lasts, [this, id] { machines_.at(id).registered = false; });
      } else if (kind == 3) {
        lose_streams(machine, Failure::overloaded);
      } else {  // the machine of the orchestrator slept
        jumped_ += lasts;
      }
    });
  }
}

void Simulation::beat(const std::string& id, int life) {
  auto& machine = machines_.at(id);
  if (!machine.up || machine.life != life) return;
  if (!machine.hangs) {
    if (!machine.registered || !core_->workers().contains(id)) {
      machine.registered = true;
      auto told = machine.registration;
      if (fault_ == Fault::other_tokenizer) told.tokenizer_hash = told.model;
      tell(WorkerRegistered{.registration = std::move(told)});
    }
    Heartbeat beat;
    beat.slots_busy = static_cast<std::int32_t>(machine.running.size());
    beat.prefill_tokens_per_second = machine.prefill_per_s;
    beat.decode_tokens_per_second = machine.decode_per_s;
    if (uniform() > 0.02) tell(WorkerBeat{id, beat});
  }
  at(now_ + 1'000, [this, id, life] { beat(id, life); });
}

void Simulation::tick() {
  tell(TimePassed{});
  const bool over = ended_ == clients_.size();
  constexpr Millis patience = 3'600'000;
  if (!over && now_ < patience) at(now_ + 100, [this] { tick(); });
}

void Simulation::tell(Event event) {
  auto actions = core_->step(std::move(event), now_ + jumped_);
  rules_.new_step();
  for (auto& action : actions) carry_out(action);
  check();
}

void Simulation::carry_out(Action& action) {
  if (auto* dispatch = std::get_if<Dispatch>(&action)) {
    begin(*dispatch);
    if (fault_ == Fault::run_twice && !std::exchange(planted_, true)) begin(*dispatch);
    return;
  }
  if (auto* ended = std::get_if<EndJob>(&action)) return end(*ended);
  if (const auto* abort = std::get_if<AbortAttempt>(&action)) {
    auto& client = clients_.at(abort->job.value);
    if (!client.at_worker || client.attempt != abort->attempt) {
      broken("an attempt is aborted that does not run: " + abort->job.value);
    }
    machines_.at(abort->worker_id).running.erase(abort->job.value);
    client.at_worker = false;
    client.waiting_since = now_;
  } else if (const auto* probe = std::get_if<ProbeWorker>(&action)) {
    at(now_ + 5, [this, id = probe->worker_id] {
      const auto& machine = machines_.at(id);
      tell(WorkerProbed{id, machine.up && !machine.hangs});
    });
  }
}

void Simulation::check_order(const std::string& job) {
  for (const auto& id : policy_.made_wait()) rules_.excuse(id);
  const auto wrong = rules_.starts(job, now_ + jumped_,
                                   [this](const std::string& tenant) { return served(tenant); });
  const bool fair = options_.core.order == QueueOrder::fair;
  if (wrong && fair) broken(*wrong);
}

void Simulation::begin(Dispatch& action) {
  check_order(action.job.value);
  if (!policy_.let_run(action.job.value)) broken("a job runs against the policy's word");
  auto& client = clients_.at(action.job.value);
  const auto known = core_->workers().find(action.worker_id);
  if (known == core_->workers().end()) return broken("a job goes to a worker that is not there");
  if (known->second.status != WorkerStatus::healthy || known->second.draining) {
    broken("stale worker " + action.worker_id + " gets work");
  }
  if (known->second.registration.model != client.spec.model) broken("a job goes to another model");
  if (client.ends > 0) broken("a job that has ended runs again: " + action.job.value);
  if (client.at_worker) broken("a job runs twice: " + action.job.value);
  if (client.attempted && action.attempt <= client.attempt) broken("an attempt's number repeats");
  const auto& machine_told = machines_.at(action.worker_id).registration;
  if (client.tokens > 0 && client.tokenizer != machine_told.tokenizer_hash) {
    broken("tokens go to another tokenizer");
  }
  if (client.attempted) ++report_.moves;
  report_.longest_wait_ms = std::max(report_.longest_wait_ms, now_ - client.waiting_since);
  client.attempted = client.at_worker = true;
  client.attempt = action.attempt;
  client.worker = action.worker_id;
  auto& machine = machines_.at(action.worker_id);
  if (fault_ == Fault::overfill && machine.registration.slots_total > 1) {
    machine.registration.slots_total = 0;  // as if the machine had counted one too many
  }
  const auto id = action.job.value;
  const auto attempt = action.attempt;
  if (!machine.up) {
    client.at_worker = false;
    client.waiting_since = now_;
    at(now_ + 1, [this, id, attempt] {
      tell(AttemptFailed{.job = JobId{id},
                         .attempt = attempt,
                         .tokens_out = clients_.at(id).tokens,
                         .failure = Failure::unreachable,
                         .error = {.code = Code::worker_lost, .message = "refused"}});
    });
    return;
  }
  machine.running.insert(id);
  const auto prompt = static_cast<double>(client.spec.prompt_tokens_estimate + client.tokens);
  const auto prefill = static_cast<Millis>(prompt * 1'000 / machine.prefill_per_s) + 1;
  at(now_ + prefill, [this, id, attempt, life = machine.life] { step_attempt(id, attempt, life); });
}

// One token, about every so often.
void Simulation::step_attempt(const std::string& job, std::uint32_t attempt, int life) {
  auto& client = clients_.at(job);
  auto& machine = machines_.at(client.worker);
  const bool runs = client.at_worker && client.attempt == attempt && machine.life == life &&
                    machine.running.contains(job);
  if (!runs) return;
  const auto again = [this, job, attempt, life](Millis when) {
    at(when, [this, job, attempt, life] { step_attempt(job, attempt, life); });
  };
  if (machine.hangs) return again(now_ + 500);
  const auto step = static_cast<Millis>(1'000 / machine.decode_per_s) + 1;
  if (client.tokens == 0) {
    tell(AttemptStarted{JobId{job}, attempt, client.spec.prompt_tokens_estimate, 0});
  }
  ++client.tokens;
  client.tokenizer = machine.registration.tokenizer_hash;
  if (client.tokens < client.wants_tokens) {
    tell(AttemptProgress{.job = JobId{job}, .attempt = attempt, .tokens_out = client.tokens});
    return again(now_ + step);
  }
  machine.running.erase(job);
  client.at_worker = false;
  tell(AttemptEnded{JobId{job}, attempt, client.tokens, StopReason::MAX_TOKENS});
}

void Simulation::lose_streams(Machine& machine, Failure failure) {
  const auto running = std::exchange(machine.running, {});
  for (const auto& job : running) {
    auto& client = clients_.at(job);
    client.at_worker = false;
    client.waiting_since = now_;
    const auto code = failure == Failure::overloaded ? Code::queue_full : Code::worker_lost;
    tell(AttemptFailed{.job = JobId{job},
                       .attempt = client.attempt,
                       .tokens_out = client.tokens,
                       .failure = failure,
                       .error = {.code = code, .message = "gone"}});
  }
}

void Simulation::end(EndJob& action) {
  auto& client = clients_.at(action.job.value);
  if (fault_ == Fault::lose_job && !planted_ && client.ends == 0) {
    planted_ = true;
    return;
  }
  rules_.left(action.job.value);
  generated_[client.spec.tenant] += static_cast<double>(client.tokens - client.tokens_before);
  if (client.ends == 0) {
    --live_;
    ++ended_;
  }
  client.ends += fault_ == Fault::end_twice && !std::exchange(planted_, true) ? 2 : 1;
  client.status = action.end.status;
  if (client.ends > 1) broken("a second terminal event: " + action.job.value);
  if (client.at_worker) broken("a job ends while it runs: " + action.job.value);
  if (!is_terminal(client.status)) broken("a job ends without a terminal state");
  if (client.status == JobStatus::completed) {
    ++report_.completed;
    if (client.tokens != client.wants_tokens) broken("a completed job misses tokens");
  } else if (client.status == JobStatus::cancelled) {
    ++report_.cancelled;
  } else {
    ++(client.attempted ? report_.failed : report_.refused);
  }
}

void Simulation::check() {
  if (restoring_) return;
  if (core_->jobs_live() != live_) {
    broken("jobs are lost, or live on: " + std::to_string(core_->jobs_live()) + " live, want " +
           std::to_string(live_));
  }
  for (const auto& [tenant, tokens] : generated_) {
    constexpr double output_weight = 2;
    if (served(tenant) < output_weight * tokens) broken("a tenant's service is not counted");
  }
  for (const auto& [id, machine] : machines_) {
    const auto slots = static_cast<std::size_t>(machine.registration.slots_total);
    if (machine.running.size() > slots + 1) {
      broken("worker " + id + " has more than its slots and one");
    }
  }
}

SimReport Simulation::run() {
  make_machines();
  make_jobs();
  make_trouble();
  at(100, [this] { tick(); });
  constexpr int happenings_max = 2'000'000;
  for (int i = 0; i < happenings_max && !agenda_.empty() && report_.broken.empty(); ++i) {
    const auto next = agenda_.top();
    agenda_.pop();
    now_ = next.at;
    next.what();
    if (ended_ == clients_.size()) break;
  }
  for (const auto& [id, client] : clients_) {
    if (client.ends == 0) broken("never ended: " + id);
  }
  return report_;
}

}  // namespace

SimReport simulate(const SimOptions& options, Fault fault) {
  return Simulation(options, fault).run();
}

}  // namespace llorch
