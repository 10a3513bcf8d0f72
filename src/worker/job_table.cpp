#include "worker/job_table.h"

#include <cassert>
#include <utility>

#include "base/limits.h"

namespace llorch {

JobTable::Seat::~Seat() {
  if (run_) table_->release(*run_);
}

JobTable::JobTable(const Clock& clock, CancelRun cancel_run)
    : clock_(clock), cancel_run_(std::move(cancel_run)) {}

Result<JobTable::Seat> JobTable::admit(JobId id, std::uint32_t attempt,
                                       std::string correlation_id) {
  const auto found = current_.find(id);
  LiveRun* const previous = found == current_.end() ? nullptr : found->second;
  if (previous && attempt <= previous->attempt) {
    return fail(Code::conflict, "a job with this job_id is live; a higher attempt replaces it");
  }
  const bool frees_a_place = previous && previous->cancelled == CancelReason::none;
  if (active_ - (frees_a_place ? 1 : 0) >= live_max_) {
    Error full{.code = Code::queue_full, .message = "every slot is busy and the queue is full"};
    full.retry_after_ms = finish_rate_.retry_after_ms(clock_.now());
    return fail(std::move(full));
  }
  if (previous) cancel(*previous, CancelReason::replaced);
  cancelled_.erase(id);  // this run may finish by itself: an old cancel no longer answers for it
  auto run = std::make_shared<LiveRun>();
  run->id = std::move(id);
  run->attempt = attempt;
  run->correlation_id = std::move(correlation_id);
  run->outbox = std::make_shared<Outbox>();
  run->accepted_at = clock_.now();
  live_.insert(run.get());
  current_[run->id] = run.get();
  ++active_;
  return Seat(*this, std::move(run));
}

Result<void> JobTable::cancel(const JobId& id) {
  forget_expired();
  if (const auto found = current_.find(id); found != current_.end() && !found->second->finished) {
    cancel(*found->second, CancelReason::client);
    remember_cancelled(id);
    return {};
  }
  if (cancelled_.contains(id)) return {};
  return fail(Code::job_not_found, "no live job has this job_id");
}

void JobTable::cancel(LiveRun& run, CancelReason reason) {
  assert(reason != CancelReason::none);
  if (run.cancelled != CancelReason::none) return;
  run.cancelled = reason;
  --active_;
  cancel_run_(run);
}

void JobTable::cancel_all(CancelReason reason) {
  for (LiveRun* const run : live_) cancel(*run, reason);
}

void JobTable::release(LiveRun& run) {
  cancel(run, CancelReason::left);  // the engine ignores this when the run has ended already
  finish_rate_.finished(clock_.now());
  live_.erase(&run);
  const auto found = current_.find(run.id);
  if (found != current_.end() && found->second == &run) current_.erase(found);
  if (live_.empty() && empty_) empty_();
}

void JobTable::remember_cancelled(const JobId& id) {
  const auto now = clock_.now();
  cancelled_[id] = now;
  cancelled_order_.emplace_back(now, id);
  if (cancelled_order_.size() > limits::cancelled_ids_max) {
    cancelled_.erase(cancelled_order_.front().second);
    cancelled_order_.pop_front();
  }
}

void JobTable::forget_expired() {
  const auto oldest = clock_.now() - std::chrono::milliseconds(limits::cancelled_memory_ms);
  while (!cancelled_order_.empty() && cancelled_order_.front().first < oldest) {
    const auto& [when, id] = cancelled_order_.front();
    const auto found = cancelled_.find(id);
    if (found != cancelled_.end() && found->second == when) cancelled_.erase(found);
    cancelled_order_.pop_front();
  }
}

}  // namespace llorch
