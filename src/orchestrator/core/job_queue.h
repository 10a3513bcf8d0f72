// The waiting jobs of one fleet in the order they are to start. `interactive` goes strictly before
// `batch`; inside a class the tenant that has had the least service comes first, and of its jobs
// the shortest expected one. A share of what its jobs are given goes to the one that has waited
// longest, so that nobody starves however many short ones keep coming: what overtakes a job is at
// most what was before it and itself, divided by that share, and one more.
// Source: Sheng et al., "Fairness in Serving Large Language Models" (virtual token counters).
// Threads: one owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "orchestrator/core/job.h"

namespace llorch {

enum class QueueOrder { fair, fifo };

struct QueuedJob {
  JobId id;
  std::string tenant;
  std::string model;  // jobs for different ones are in nobody's way
  Priority priority = Priority::interactive;
  Millis since_ms = 0;         // when it was accepted
  double expected_tokens = 0;  // its cost in service
  double expected_ms = 0;      // its length, for the order inside a tenant
  bool moved = false;          // it had begun elsewhere: before all others of its class
};

class JobQueue {
 public:
  JobQueue(QueueOrder order, Millis promote_after_ms, double oldest_share = oldest_share_usual)
      : order_(order), promote_after_ms_(promote_after_ms), oldest_share_(oldest_share) {}

  // Short jobs that are two thirds of the load still find a slot at once.
  static constexpr double oldest_share_usual = 1.0 / 16;

  void add(QueuedJob job);
  bool remove(const JobId& id);             // it has ended
  bool start(const JobId& id, Millis now);  // it has been given to a worker
  bool contains(const JobId& id) const { return jobs_.contains(id); }
  std::size_t size() const { return jobs_.size(); }
  std::size_t size(Priority priority) const;
  // The jobs in their order, as it is now. Ends when `take` says so.
  enum class Walk { go_on, stop };
  using Visit = std::function<Walk(const QueuedJob&)>;
  void walk(Millis now, const Visit& visit) const;
  // Only those for one model, as if there were no others: they start at other workers.
  void walk(Millis now, const std::string& model, const Visit& visit) const;
  // The oldest batch job; drop-lru gives it up. nullopt: there is none.
  std::optional<JobId> oldest_batch() const;

  // Service that a tenant has been given, in tokens; negative to give back what was not used.
  void charge(const std::string& tenant, double tokens);
  double served(const std::string& tenant) const;

 private:
  bool urgent(const QueuedJob& job, Millis now) const;
  std::vector<const QueuedJob*> in_order(Millis now, const std::string* model) const;
  // `urgent_class`: of which these are.
  void order_fairly(std::vector<const QueuedJob*>& jobs, bool urgent_class) const;
  std::vector<const QueuedJob*> line_order(const std::vector<const QueuedJob*>& by_arrival,
                                           bool urgent_class) const;
  bool is_overtaking(std::uint64_t arrival, const QueuedJob& job, Millis now) const;

  QueueOrder order_;
  Millis promote_after_ms_;
  double oldest_share_;
  std::uint64_t arrivals_ = 0;
  struct Waiting {
    QueuedJob job;
    std::uint64_t arrival;
  };
  std::unordered_map<JobId, Waiting> jobs_;
  struct Tenant {
    double served = 0;
    std::size_t waiting = 0;
    // By model and class: tokens owed to what has waited longest there.
    std::map<std::pair<std::string, bool>, double> oldest_due;
  };
  std::unordered_map<std::string, Tenant> tenants_;
  double floor_ = 0;  // the most that a tenant had been given when it last had nothing to wait for
};

}  // namespace llorch
