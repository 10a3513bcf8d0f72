// A fleet of made-up machines over the real decision machine, in virtual time, from one seed:
// unequal speeds and tokenizers, crashes, hangs, refusals, drains, lost beats, clients that leave,
// a clock that jumps, policies that wait and reject, restarts of the orchestrator. After every step
// the rules of the orchestrator are checked. Threads: one owner.
#pragma once

#include <cstdint>
#include <map>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "orchestrator/core/core.h"

namespace llorch {

struct SimOptions {
  std::uint64_t seed = 1;
  int workers = 6;
  int jobs = 120;
  Millis arrivals_ms = 60'000;  // jobs come within this time
  Millis trouble_ms = 120'000;  // nothing breaks after it, so that everything can end
  double trouble_per_s = 0.4;   // crashes, hangs, drains of the whole fleet
  bool fickle_policy = false;   // a script that waits, rejects, answers nonsense
  int restarts = 0;             // kill -9 of the orchestrator
  CoreOptions core = {};
};

struct SimReport {
  std::vector<std::string> broken;  // rules, the first few
  int completed = 0, failed = 0, cancelled = 0, refused = 0;
  int moves = 0;  // attempts after the first
  Millis longest_wait_ms = 0;
};

// For the mutation check: what a faulty machine would do, planted between it and the rules.
enum class Fault {
  none,
  lose_job,
  end_twice,
  run_twice,
  overfill,
  other_tokenizer,  // a worker says that its tokens are the others'
  ignore_policy,
  unfair_order,   // first come, first served, where tenants are to get the same
  starve,         // always the shortest
  uncharged,      // what a tenant is given does not count
  lose_restored,  // one accepted job is not there after a restart
  repeat_attempt  // a restored job's attempt has the number of its last one
};
inline constexpr auto last_fault = Fault::repeat_attempt;

SimReport simulate(const SimOptions& options, Fault fault = Fault::none);

}  // namespace llorch
