#include "policy/replay.h"

#include <utility>

#include "base/limits.h"

namespace llorch {
namespace {

std::string told(const DecisionRecord& record) {
  switch (record.kind) {
    case DecisionRecord::Kind::worker:
      return "worker " + record.worker_id;
    case DecisionRecord::Kind::wait:
      return "wait";
    case DecisionRecord::Kind::reject:
      return "reject: " + record.reason;
  }
  return {};
}

// A refusal is the same whatever its words are.
bool is_same(const DecisionRecord& before, const DecisionRecord& after) {
  return before.kind == after.kind && before.worker_id == after.worker_id;
}

ReplayShift* shift_of(ReplaySummary& summary, const DecisionRecord& record) {
  if (record.kind != DecisionRecord::Kind::worker) return nullptr;
  const bool full = summary.workers.size() >= limits::replay_workers_max;
  if (full && !summary.workers.contains(record.worker_id)) return nullptr;
  return &summary.workers[record.worker_id];
}

}  // namespace

ReplaySummary replay(std::span<const DecisionRecord> records, Policy& policy, Policy& fallback,
                     ReplayClock& clock) {
  ReplaySummary summary;
  replay(records, policy, fallback, clock, summary);
  return summary;
}

void replay(std::span<const DecisionRecord> records, Policy& policy, Policy& fallback,
            ReplayClock& clock, ReplaySummary& summary) {
  for (const auto& before : records) {
    if (before.workers.empty()) continue;
    ++summary.decisions;
    clock.set(before.at_ms);
    const auto job = view_of(before.job);
    const auto workers = views_of(before.workers);
    auto placement = policy.schedule_job(job, workers);
    if (placement.kind == Placement::Kind::built_in)
      placement = fallback.schedule_job(job, workers);
    const auto after = make_record(before.at_ms, job, workers, placement);
    if (auto* const shift = shift_of(summary, before)) ++shift->before;
    if (auto* const shift = shift_of(summary, after)) ++shift->after;
    if (is_same(before, after)) {
      ++summary.same;
      continue;
    }
    ++(before.kind == after.kind ? summary.other_worker : summary.other_kind);
    if (summary.differences.size() < limits::replay_differences_max) {
      summary.differences.push_back({.job_id = before.job.id,
                                     .before = told(before),
                                     .after = told(after),
                                     .decided_by = after.decided_by});
    }
  }
}

}  // namespace llorch
