// The rules of the queue's order, held against every start from outside: interactive before batch,
// no tenant far ahead of another that waits, nobody overtaken without end.
// Threads: one owner. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/core/job.h"

namespace llorch {

class OrderRules {
 public:
  struct Bounds {
    double oldest_share = 0.25;
    double largest = 0;  // cost of one job
    Millis promote_after_ms = 0;
  };
  explicit OrderRules(Bounds bounds) : bounds_(bounds) {}

  static double cost(const JobSpec& spec);

  // Accepted, waits for its first start. `accepted_ms`: of the core's clock.
  void waits(const JobSpec& spec, Millis accepted_ms);
  // A policy made it wait: what overtakes it and its tenant's others is that one's doing.
  void excuse(const std::string& job);
  void left(const std::string& job) { waiting_.erase(job); }
  void forget_all() { waiting_.clear(); }
  // A step begins: what follows was charged in it.
  void new_step() { charged_.clear(); }
  // The job starts; what is broken by that. `served`: a tenant's service after the step.
  std::optional<std::string> starts(const std::string& job, Millis now,
                                    const std::function<double(const std::string&)>& served);

 private:
  struct Waiting {
    std::string tenant, model;
    bool interactive = true, excused = false;
    Millis accepted_ms = 0;
    std::uint64_t arrival = 0;
    double cost = 0;
    double older = 0;      // cost of its line when it came
    double overtaken = 0;  // cost of later ones that have started
  };
  bool urgent(const Waiting& job, Millis now) const {
    return job.interactive || now - job.accepted_ms >= bounds_.promote_after_ms;
  }
  std::optional<std::string> judge(const Waiting& started, Waiting& other, Millis now,
                                   const std::function<double(const std::string&)>& served);

  Bounds bounds_;
  std::uint64_t arrivals_ = 0;
  std::map<std::string, Waiting> waiting_;
  std::map<std::string, double> charged_;  // at most so much of each tenant, in this step
};

}  // namespace llorch
