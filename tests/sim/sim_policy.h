// A policy that changes its mind: waits, rejects, names workers it was not offered. It remembers
// its last answer for each job, so that the rules can be held against it.
// Threads: one owner.
#pragma once

#include <map>
#include <random>
#include <set>
#include <string>

#include "policy/built_in.h"

namespace llorch {

class SimPolicy final : public Policy {
 public:
  // `fickle`: else as the built-in one. `lies`: a planted fault, what it answered is not kept to.
  SimPolicy(bool fickle, bool lies, std::uint64_t seed)
      : fickle_(fickle), lies_(lies), random_(seed) {}

  Placement schedule_job(const PolicyJob& job, std::span<const PolicyWorker> workers) override {
    auto answer = built_in_.schedule_job(job, workers);
    if (!fickle_) return answer;
    const auto drawn = std::uniform_real_distribution<>(0, 1)(random_);
    if (drawn < 0.10) answer.kind = Placement::Kind::wait;
    if (drawn < 0.02) answer.kind = Placement::Kind::reject;
    if (drawn > 0.95) answer.worker = workers.size() + 3;
    if (drawn > 0.98) answer.kind = Placement::Kind::built_in;
    const bool runs =
        answer.kind == Placement::Kind::worker || answer.kind == Placement::Kind::built_in;
    runs_[std::string(job.id)] = runs;
    if (answer.kind == Placement::Kind::wait) waited_.insert(std::string(job.id));
    if (lies_ && !runs) answer.kind = Placement::Kind::built_in;
    return answer;
  }

  Admission should_admit(const PolicyJob& job, std::int64_t depth) override {
    auto answer = built_in_.should_admit(job, depth);
    if (fickle_ && std::uniform_real_distribution<>(0, 1)(random_) < 0.02) {
      answer = {.kind = Admission::Kind::reject, .reason = "not now"};
    }
    return answer;
  }

  std::optional<bool> should_retry(const PolicyJob& job, std::uint32_t attempt,
                                   const PolicyError& error) override {
    if (fickle_ && std::uniform_real_distribution<>(0, 1)(random_) < 0.05) return false;
    return built_in_.should_retry(job, attempt, error);
  }

  // Its last answer let the job run.
  bool let_run(const std::string& job) const {
    const auto known = runs_.find(job);
    return known == runs_.end() || known->second;
  }
  // Jobs that it has made wait: others may overtake them.
  const std::set<std::string>& made_wait() const { return waited_; }

 private:
  bool fickle_, lies_;
  std::mt19937_64 random_;
  BuiltInPolicy built_in_;
  std::map<std::string, bool> runs_;
  std::set<std::string> waited_;
};

}  // namespace llorch
