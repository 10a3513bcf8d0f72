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
    case DecisionRecord::Kind::admit:
      return "admit";
    case DecisionRecord::Kind::retry:
      return "retry";
    case DecisionRecord::Kind::give_up:
      return "give up";
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

// The same record with what the policies say now.
DecisionRecord asked_again(const DecisionRecord& before, Policy& policy, Policy& fallback) {
  auto after = before;
  auto job = view_of(before.job);
  if (before.failed) {
    const auto& failed = *before.failed;
    auto again = policy.should_retry(job, failed.tries, view_of(failed));
    if (!again) again = fallback.should_retry(job, failed.tries, view_of(failed));
    after.kind = again.value_or(true) ? DecisionRecord::Kind::retry : DecisionRecord::Kind::give_up;
    after.decided_by = "should_retry";
    return after;
  }
  if (before.queue_depth) {
    const auto waited_ms = std::exchange(job.age_ms, 0);  // it was new then
    auto admission = policy.should_admit(job, *before.queue_depth);
    job.age_ms = waited_ms;
    const bool refused = admission.kind == Admission::Kind::reject;
    if (refused || before.workers.empty()) {
      after.kind = refused ? DecisionRecord::Kind::reject : DecisionRecord::Kind::admit;
      after.reason = std::move(admission.reason);
      after.decided_by = "should_admit";
      after.worker_id.clear();
      return after;
    }
  }
  const auto workers = views_of(before.workers);
  auto placement = policy.schedule_job(job, workers);
  if (placement.kind == Placement::Kind::built_in) placement = fallback.schedule_job(job, workers);
  return make_record(before.at_ms, job, workers, placement);
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
    if (before.workers.empty() && !before.queue_depth && !before.failed) continue;
    ++summary.decisions;
    clock.set(before.at_ms);
    const auto after = asked_again(before, policy, fallback);
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
