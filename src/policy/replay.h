// What would change: recorded decisions, asked again of another policy.
// Threads: one. Pure: the time is that of the records.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "policy/decision_record.h"
#include "policy/policy.h"

namespace llorch {

// Stands at the time of the record that is being asked, so that now_ms() and rests fit.
class ReplayClock final : public Clock {
 public:
  SteadyTime now() const override { return SteadyTime(std::chrono::milliseconds(at_ms_)); }
  WallTime wall() const override { return wall_time(at_ms_); }
  void set(std::int64_t at_ms) { at_ms_ = at_ms; }

 private:
  std::int64_t at_ms_ = 0;
};

struct ReplayDifference {
  std::string job_id;
  std::string before, after;  // "worker w-1", "wait", "reject: too many", "retry"
  std::string decided_by;     // what decided now
};

// Jobs that a worker was given, and would be given now.
struct ReplayShift {
  std::size_t before = 0;
  std::size_t after = 0;
  bool operator==(const ReplayShift&) const = default;
};

struct ReplaySummary {
  std::size_t decisions = 0;  // records in which a policy was asked
  std::size_t same = 0;
  std::size_t other_worker = 0;                // both placed it, on different workers
  std::size_t other_kind = 0;                  // one placed, admitted or tried again, the other not
  std::vector<ReplayDifference> differences;   // at most limits::replay_differences_max
  std::map<std::string, ReplayShift> workers;  // by id; at most limits::replay_workers_max
};

// `policy` tells time by `clock`, and may leave the choice: `fallback` decides then.
// Shape: records in the order in which they were made. Adds to `summary`, so they may come in
// pages.
void replay(std::span<const DecisionRecord> records, Policy& policy, Policy& fallback,
            ReplayClock& clock, ReplaySummary& summary);
ReplaySummary replay(std::span<const DecisionRecord> records, Policy& policy, Policy& fallback,
                     ReplayClock& clock);

}  // namespace llorch
