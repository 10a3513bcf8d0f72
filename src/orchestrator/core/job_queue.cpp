#include "orchestrator/core/job_queue.h"

#include <algorithm>
#include <cassert>
#include <deque>
#include <limits>
#include <numeric>
#include <utility>

#include "base/limits.h"

namespace llorch {

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
  if (--tenant.waiting == 0) {
    floor_ = std::max(floor_, tenant.served);
    tenant.oldest_due.clear();
  }
  jobs_.erase(found);
  // Whoever waits for nothing comes back with the floor anyway.
  if (tenants_.size() > limits::estimates_max) {
    std::erase_if(tenants_, [](const auto& entry) { return entry.second.waiting == 0; });
  }
  return true;
}

bool JobQueue::start(const JobId& id, Millis now) {
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return false;
  const auto& [job, arrival] = found->second;
  if (!job.moved) {
    auto& due = tenants_[job.tenant].oldest_due[{job.model, urgent(job, now)}];
    if (is_overtaking(arrival, job, now)) {
      due += oldest_share_ * job.expected_tokens;
    } else if (due >= job.expected_tokens) {
      due -= job.expected_tokens;
    }
  }
  return remove(id);
}

// Some job of the same line came before this one and still waits.
bool JobQueue::is_overtaking(std::uint64_t arrival, const QueuedJob& job, Millis now) const {
  return std::any_of(jobs_.begin(), jobs_.end(), [&](const auto& entry) {
    const auto& other = entry.second;
    return other.arrival < arrival && other.job.tenant == job.tenant &&
           other.job.model == job.model && !other.job.moved &&
           urgent(other.job, now) == urgent(job, now);
  });
}

std::size_t JobQueue::size(Priority priority) const {
  return static_cast<std::size_t>(std::count_if(jobs_.begin(), jobs_.end(), [&](const auto& e) {
    return e.second.job.priority == priority;
  }));
}

bool JobQueue::urgent(const QueuedJob& job, Millis now) const {
  return job.priority == Priority::interactive || now - job.since_ms >= promote_after_ms_;
}

std::vector<const QueuedJob*> JobQueue::in_order(Millis now, const std::string* model) const {
  if (jobs_.size() == 1) {  // most of the time: a worker is free
    const auto& only = jobs_.begin()->second.job;
    const bool wanted = model == nullptr || only.model == *model;
    return wanted ? std::vector{&only} : std::vector<const QueuedJob*>();
  }
  std::vector<std::pair<std::uint64_t, const QueuedJob*>> by_arrival;
  for (const auto& [id, waiting] : jobs_) {
    if (model != nullptr && waiting.job.model != *model) continue;
    by_arrival.emplace_back(waiting.arrival, &waiting.job);
  }
  std::sort(by_arrival.begin(), by_arrival.end());
  std::vector<const QueuedJob*> moved, urgent_jobs, batch_jobs;
  for (const auto& [arrival, job] : by_arrival) {
    auto& into = job->moved ? moved : urgent(*job, now) ? urgent_jobs : batch_jobs;
    into.push_back(job);
  }
  if (order_ == QueueOrder::fair) {
    order_fairly(urgent_jobs, true);
    order_fairly(batch_jobs, false);
  }
  moved.insert(moved.end(), urgent_jobs.begin(), urgent_jobs.end());
  moved.insert(moved.end(), batch_jobs.begin(), batch_jobs.end());
  return moved;
}

// The jobs of one tenant for one model: the shortest first, the oldest when that is due.
std::vector<const QueuedJob*> JobQueue::line_order(const std::vector<const QueuedJob*>& by_arrival,
                                                   bool urgent_class) const {
  std::vector<std::size_t> by_length(by_arrival.size());
  std::iota(by_length.begin(), by_length.end(), std::size_t{0});
  std::stable_sort(by_length.begin(), by_length.end(), [&](std::size_t a, std::size_t b) {
    return by_arrival[a]->expected_ms < by_arrival[b]->expected_ms;
  });
  double due = 0;
  if (const auto tenant = tenants_.find(by_arrival[0]->tenant); tenant != tenants_.end()) {
    const auto known = tenant->second.oldest_due.find({by_arrival[0]->model, urgent_class});
    if (known != tenant->second.oldest_due.end()) due = known->second;
  }
  std::vector<bool> taken(by_arrival.size());
  std::vector<const QueuedJob*> order;
  for (std::size_t oldest = 0, shortest = 0; order.size() < by_arrival.size();) {
    while (taken[oldest]) ++oldest;
    while (taken[by_length[shortest]]) ++shortest;
    const bool its_turn = due >= by_arrival[oldest]->expected_tokens;
    const auto next = its_turn ? oldest : by_length[shortest];
    const auto tokens = by_arrival[next]->expected_tokens;
    if (its_turn) due -= tokens;
    if (next != oldest) due += oldest_share_ * tokens;
    taken[next] = true;
    order.push_back(by_arrival[next]);
  }
  return order;
}

void JobQueue::order_fairly(std::vector<const QueuedJob*>& jobs, bool urgent_class) const {
  std::map<std::string_view, std::map<std::string_view, std::vector<const QueuedJob*>>> by_tenant;
  for (const auto* job : jobs) by_tenant[job->tenant][job->model].push_back(job);
  struct Turn {
    double service;  // as if all before had been served
    std::string_view tenant;
    std::vector<std::deque<const QueuedJob*>> lines;  // none of them empty
  };
  std::vector<Turn> turns;
  for (const auto& [tenant, models] : by_tenant) {
    Turn turn{.service = served(std::string(tenant)), .tenant = tenant, .lines = {}};
    for (const auto& [model, own] : models) {
      const auto order = line_order(own, urgent_class);
      turn.lines.emplace_back(order.begin(), order.end());
    }
    turns.push_back(std::move(turn));
  }
  const auto later = [](const Turn& a, const Turn& b) {
    return a.service != b.service ? a.service > b.service : a.tenant > b.tenant;
  };
  std::make_heap(turns.begin(), turns.end(), later);
  for (auto& place : jobs) {
    std::pop_heap(turns.begin(), turns.end(), later);
    auto& turn = turns.back();
    const auto line =
        std::min_element(turn.lines.begin(), turn.lines.end(), [](const auto& a, const auto& b) {
          return a.front()->expected_ms < b.front()->expected_ms;
        });
    place = line->front();
    line->pop_front();
    if (line->empty()) turn.lines.erase(line);
    turn.service += place->expected_tokens;
    if (turn.lines.empty()) {
      turns.pop_back();
    } else {
      std::push_heap(turns.begin(), turns.end(), later);
    }
  }
}

void JobQueue::walk(Millis now, const Visit& visit) const {
  for (const auto* job : in_order(now, nullptr)) {
    if (visit(*job) == Walk::stop) return;
  }
}

void JobQueue::walk(Millis now, const std::string& model, const Visit& visit) const {
  for (const auto* job : in_order(now, &model)) {
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
