#include "orchestrator/core/job_queue.h"

#include <algorithm>
#include <cassert>
#include <deque>
#include <limits>
#include <utility>

#include "base/limits.h"

namespace llorch {
namespace {

// A millisecond of waiting makes a job as urgent as one that is so much shorter: a job of 2.5 s
// passes new ones of 0.2 s after 23 s.
constexpr double ageing = 0.1;

double length(const QueuedJob& job, Millis now) {
  return job.expected_ms - static_cast<double>(now - job.since_ms) * ageing;
}

}  // namespace

void JobQueue::add(QueuedJob job) {
  auto& tenant = tenants_[job.tenant];
  if (tenant.waiting++ == 0) {
    // Who was away does not come back with credit: at least what the least served one had.
    double least = std::numeric_limits<double>::infinity();
    for (const auto& [name, other] : tenants_) {
      if (other.waiting > 0 && &other != &tenant) least = std::min(least, other.served);
    }
    if (least == std::numeric_limits<double>::infinity()) least = floor_;
    tenant.served = std::max(tenant.served, least);
  }
  auto id = job.id;
  [[maybe_unused]] const auto [at, added] =
      jobs_.emplace(std::move(id), Waiting{std::move(job), arrivals_++});
  assert(added);
}

bool JobQueue::remove(const JobId& id) {
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return false;
  auto& tenant = tenants_[found->second.job.tenant];
  if (--tenant.waiting == 0) floor_ = std::max(floor_, tenant.served);
  jobs_.erase(found);
  // Whoever waits for nothing comes back with the floor anyway.
  if (tenants_.size() > limits::estimates_max) {
    std::erase_if(tenants_, [](const auto& entry) { return entry.second.waiting == 0; });
  }
  return true;
}

std::size_t JobQueue::size(Priority priority) const {
  return static_cast<std::size_t>(std::count_if(jobs_.begin(), jobs_.end(), [&](const auto& e) {
    return e.second.job.priority == priority;
  }));
}

bool JobQueue::urgent(const QueuedJob& job, Millis now) const {
  return job.priority == Priority::interactive || now - job.since_ms >= promote_after_ms_;
}

std::vector<const QueuedJob*> JobQueue::in_order(Millis now) const {
  std::vector<std::pair<std::uint64_t, const QueuedJob*>> by_arrival;
  by_arrival.reserve(jobs_.size());
  for (const auto& [id, waiting] : jobs_) by_arrival.emplace_back(waiting.arrival, &waiting.job);
  std::sort(by_arrival.begin(), by_arrival.end());
  std::vector<const QueuedJob*> moved, urgent_jobs, batch_jobs;
  for (const auto& [arrival, job] : by_arrival) {
    auto& into = job->moved ? moved : urgent(*job, now) ? urgent_jobs : batch_jobs;
    into.push_back(job);
  }
  if (order_ == QueueOrder::fair) {
    order_fairly(urgent_jobs, now);
    order_fairly(batch_jobs, now);
  }
  moved.insert(moved.end(), urgent_jobs.begin(), urgent_jobs.end());
  moved.insert(moved.end(), batch_jobs.begin(), batch_jobs.end());
  return moved;
}

void JobQueue::order_fairly(std::vector<const QueuedJob*>& jobs, Millis now) const {
  std::map<std::string_view, std::deque<const QueuedJob*>> by_tenant;
  for (const auto* job : jobs) by_tenant[job->tenant].push_back(job);
  using Turn = std::pair<double, std::string_view>;  // virtual service, tenant
  std::vector<Turn> turns;
  for (auto& [tenant, own] : by_tenant) {
    std::stable_sort(own.begin(), own.end(), [&](const auto* a, const auto* b) {
      return length(*a, now) < length(*b, now);
    });
    turns.emplace_back(served(std::string(tenant)), tenant);
  }
  const auto later = std::greater<Turn>{};
  std::make_heap(turns.begin(), turns.end(), later);
  for (auto& place : jobs) {
    std::pop_heap(turns.begin(), turns.end(), later);
    auto& [service, tenant] = turns.back();
    auto& own = by_tenant[tenant];
    place = own.front();
    own.pop_front();
    service += place->expected_tokens;
    if (own.empty()) {
      turns.pop_back();
    } else {
      std::push_heap(turns.begin(), turns.end(), later);
    }
  }
}

void JobQueue::walk(Millis now, const std::function<Walk(const QueuedJob&)>& visit) const {
  for (const auto* job : in_order(now)) {
    if (visit(*job) == Walk::stop) return;
  }
}

std::optional<JobId> JobQueue::oldest_batch() const {
  const Waiting* oldest = nullptr;
  for (const auto& [id, waiting] : jobs_) {
    if (waiting.job.priority != Priority::batch || waiting.job.moved) continue;
    if (oldest == nullptr || waiting.arrival < oldest->arrival) oldest = &waiting;
  }
  return oldest == nullptr ? std::nullopt : std::optional(oldest->job.id);
}

void JobQueue::charge(const std::string& tenant, double tokens) {
  tenants_[tenant].served += tokens;
}

double JobQueue::served(const std::string& tenant) const {
  const auto found = tenants_.find(tenant);
  return found == tenants_.end() ? 0 : found->second.served;
}

}  // namespace llorch
