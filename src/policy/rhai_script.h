// One compiled Rhai script: the only door to shim/rhai.
// Threads: one owner. Lifetime: views given live as long as the call; answers own what they hold.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "policy/built_in.h"
#include "policy/policy.h"

namespace llorch {

// Why a script's answer does not count. The wire name labels orchd_policy_errors_total{kind}.
enum class PolicyErrorKind {
  syntax,
  runtime,  // a missing function, a wrong type, a division by zero
  thrown,   // by the script, or by a function of ours that it called wrongly
  operations,
  time,
  size,
  depth,
  nonsense,  // an answer that the hook cannot give, such as a worker that was not offered
  panic,
};
inline constexpr std::size_t policy_error_kinds = 9;
std::string_view wire_name(PolicyErrorKind kind);
bool is_limit(PolicyErrorKind kind);

struct ScriptFault {
  PolicyErrorKind kind = PolicyErrorKind::runtime;
  std::string message;
  std::uint32_t line = 0, column = 0;  // from 1; 0: unknown
};

struct ScriptLimits {
  std::uint64_t operations = limits::policy_operations;  // at most policy_operations_max
  std::int64_t time_ms = limits::policy_time_ms;         // at most policy_time_ms_max
};

struct ScriptAnswer {
  enum class Kind { built_in, worker, wait, reject, yes, no };
  Kind kind = Kind::built_in;
  std::size_t worker = 0;  // an index into the workers given
  std::string reason;      // of reject
  std::uint32_t line = 0;  // where the choice was made; 0: unknown
};

struct ScriptLogLine {
  std::uint32_t level = 1;  // 1 info, 2 warn, 3 error
  std::string text;
};

template <class T>
struct ScriptOutcome {
  std::expected<T, ScriptFault> value;
  std::vector<ScriptLogLine> log;
};

struct HookSet {
  bool schedule_job = false, should_admit = false, should_retry = false;
};

class RhaiScript {
 public:
  // Compiles, and runs what stands outside of functions once. `now_ms`: what now_ms() says then.
  // Shape: at most limits::policy_source_bytes_max bytes.
  static ScriptOutcome<RhaiScript> compile(std::string_view source, const ScriptLimits& limits,
                                           std::int64_t now_ms);

  HookSet hooks() const { return hooks_; }

  // Each wants a hook that hooks() names.
  ScriptOutcome<ScriptAnswer> schedule_job(const PolicyJob& job,
                                           std::span<const PolicyWorker> workers,
                                           const PlacementTurns& turns, std::int64_t now_ms);
  ScriptOutcome<ScriptAnswer> should_admit(const PolicyJob& job, std::int64_t queue_depth,
                                           std::int64_t now_ms);
  ScriptOutcome<ScriptAnswer> should_retry(const PolicyJob& job, std::uint32_t attempt,
                                           const PolicyError& error, std::int64_t now_ms);

 private:
  struct Compiled;  // owns the shim's handle and the array that workers are copied into
  struct Release {
    void operator()(Compiled* compiled) const;
  };
  RhaiScript(std::unique_ptr<Compiled, Release> compiled, HookSet hooks)
      : compiled_(std::move(compiled)), hooks_(hooks) {}

  std::unique_ptr<Compiled, Release> compiled_;
  HookSet hooks_;
};

}  // namespace llorch
