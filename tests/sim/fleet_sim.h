// A fleet of made-up machines over the real decision machine, in virtual time, from one seed:
// unequal speeds, crashes, hangs, refusals, drains, lost beats, clients that leave, a clock that
// jumps. After every step the rules of the orchestrator are checked.
// Threads: one owner.
#pragma once

#include <cstdint>
#include <map>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "orchestrator/core/core.h"
#include "policy/built_in.h"

namespace llorch {

struct SimOptions {
  std::uint64_t seed = 1;
  int workers = 6;
  int jobs = 120;
  Millis arrivals_ms = 60'000;  // jobs come within this time
  Millis trouble_ms = 120'000;  // nothing breaks after it, so that everything can end
  double trouble_per_s = 0.4;   // crashes, hangs, drains of the whole fleet
  CoreOptions core = {};
};

struct SimReport {
  std::vector<std::string> broken;  // rules, the first few
  int completed = 0, failed = 0, cancelled = 0, refused = 0;
  int moves = 0;  // attempts after the first
  Millis longest_wait_ms = 0;
};

// For the mutation check: what a faulty machine would do, planted between it and the rules.
enum class Fault { none, lose_job, end_twice, run_twice, overfill };

SimReport simulate(const SimOptions& options, Fault fault = Fault::none);

}  // namespace llorch
