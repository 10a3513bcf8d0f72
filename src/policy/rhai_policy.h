// A script as a policy: asks it, and leaves the choice to the built-in policy where its answer does
// not stand. Each failure is logged with line and column and counted; one that keeps running into
// its limits rests for a while.
// Threads: one owner. Lifetime: the clock outlives it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "base/second_quota.h"
#include "policy/built_in.h"
#include "policy/rest_rule.h"
#include "policy/rhai_script.h"

namespace llorch {

// Failures by kind: orchd_policy_errors_total{kind}.
class PolicyErrorCounts {
 public:
  void add(PolicyErrorKind kind) { ++counts_[static_cast<std::size_t>(kind)]; }
  std::uint64_t of(PolicyErrorKind kind) const { return counts_[static_cast<std::size_t>(kind)]; }
  std::uint64_t total() const;

 private:
  std::array<std::uint64_t, policy_error_kinds> counts_{};
};

// The last failure, for people.
struct PolicyFault {
  ScriptFault fault;
  std::string hook;  // "schedule_job"; empty: while it was loaded
  WallTime at;
};

struct RhaiPolicyOptions {
  std::string name = "orchestration.rhai";  // in messages and Placement::decided_by
  ScriptLimits limits = {};
  bool is_silent = false;  // logs nothing: nobody's job depends on what it says
  std::shared_ptr<PlacementTurns> turns = nullptr;      // null: its own
  std::shared_ptr<PolicyErrorCounts> counts = nullptr;  // null: its own
};

class RhaiPolicy final : public Policy {
 public:
  // Errors: invalid_request, naming line and column, for whatever keeps the script from being used
  // (too large, not UTF-8, syntax, an unknown variable, a failure outside of functions), and for
  // limits out of range. Counts nothing.
  static Result<std::unique_ptr<RhaiPolicy>> load(std::string_view source, const Clock& clock,
                                                  RhaiPolicyOptions options = {});

  // A hook that the script lacks, that failed or that rests: built_in, or nullopt.
  Placement schedule_job(const PolicyJob& job, std::span<const PolicyWorker> workers) override;
  Admission should_admit(const PolicyJob& job, std::int64_t queue_depth) override;
  std::optional<bool> should_retry(const PolicyJob& job, std::uint32_t attempt,
                                   const PolicyError& error) override;

  HookSet hooks() const { return script_.hooks(); }
  bool is_resting() const { return rest_.is_resting(clock_.now()); }
  const PolicyErrorCounts& counts() const { return *options_.counts; }
  const std::optional<PolicyFault>& last_fault() const { return last_fault_; }

 private:
  RhaiPolicy(RhaiScript script, const Clock& clock, RhaiPolicyOptions options)
      : script_(std::move(script)), clock_(clock), options_(std::move(options)) {}

  // The answer of one hook; nullopt after a failure, which is then dealt with.
  template <class Ask>
  std::optional<ScriptAnswer> ask(std::string_view hook, const PolicyJob& job, Ask call);
  void note_fault(std::string_view hook, const PolicyJob& job, ScriptFault fault, double took_ms);
  std::string place(std::uint32_t line) const;

  RhaiScript script_;
  const Clock& clock_;
  RhaiPolicyOptions options_;
  RestRule rest_;
  std::optional<PolicyFault> last_fault_;
  // A script that fails for every job must not fill the disk with lines that say so.
  SecondQuota fault_lines_{limits::policy_fault_lines_max};
};

}  // namespace llorch
