// What jobs have turned out to need, and how fast they end: the base of every estimate.
// Threads: one owner.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <unordered_map>

#include "orchestrator/core/job.h"

namespace llorch {

class ServiceRecord {
 public:
  // A job ended by itself after so many tokens.
  void ended(const JobSpec& job, std::int64_t tokens_out, Millis now);
  // Tokens that a job will probably generate. Shape: 1..max_tokens, where that is given.
  double expected_out(const JobSpec& job) const;
  // Jobs have lately ended about where expected_out() said.
  bool keeps_to_estimates() const;
  // Between these two no job is at a worker: that time says nothing of how fast jobs end.
  void idle(Millis now) { idle_since_ = now; }
  void busy_again(Millis now);
  // Mean time between two ends lately, while there was work; nullopt before the second one.
  std::optional<double> ms_per_end(Millis now) const;

 private:
  struct Mean {
    double tokens = 0;
    double share = 1;  // of max_tokens, of the jobs that gave it
  };
  std::unordered_map<std::string, Mean> means_;  // by tenant, NUL, model; bounded
  double error_ = 0.5;  // of expected_out(), relative, a running mean: half wrong before the first
  std::optional<Millis> idle_since_ = 0;
  std::deque<Millis> ends_;  // the newest, oldest first
};

}  // namespace llorch
