#include "policy/rhai_policy.h"

#include <numeric>
#include <utility>

#include "base/log.h"

namespace llorch {
namespace {

constexpr std::string_view component = "policy";

// "orchestration.rhai:3:5: Unexpected token"
std::string located(const std::string& name, const ScriptFault& fault) {
  std::string text = name;
  if (fault.line > 0) text += ":" + std::to_string(fault.line);
  if (fault.line > 0 && fault.column > 0) text += ":" + std::to_string(fault.column);
  return text + ": " + fault.message;
}

std::unexpected<Error> refuse(const std::string& name, const ScriptFault& fault) {
  Violation violation{.field = "source",
                      .constraint = std::string(wire_name(fault.kind)),
                      .message = located(name, fault)};
  if (fault.line > 0) {
    violation.value =
        "line " + std::to_string(fault.line) + ", column " + std::to_string(fault.column);
  }
  return fail_field(std::move(violation), "llorch policy validate FILE");
}

std::unexpected<Error> refuse_limit(const char* name, std::int64_t max) {
  return fail_field({.field = name,
                     .constraint = "range",
                     .message = std::string(name) + " must be 1 to " + std::to_string(max)});
}

LogLevel level_of(std::uint32_t level) {
  if (level >= 3) return LogLevel::error;
  return level == 2 ? LogLevel::warn : LogLevel::info;
}

void write_log(const std::string& name, std::string_view job_id,
               const std::vector<ScriptLogLine>& lines) {
  for (const auto& line : lines) {
    log_event(level_of(line.level), component, "script_says",
              {{"policy", std::string_view(name)},
               {"message", std::string_view(line.text)},
               {"job_id", job_id}});
  }
}

}  // namespace

std::uint64_t PolicyErrorCounts::total() const {
  return std::accumulate(counts_.begin(), counts_.end(), std::uint64_t{0});
}

Result<std::unique_ptr<RhaiPolicy>> RhaiPolicy::load(std::string_view source, const Clock& clock,
                                                     RhaiPolicyOptions options) {
  const auto& wanted = options.limits;
  if (wanted.operations < 1 || wanted.operations > limits::policy_operations_max) {
    return refuse_limit("policy operations", limits::policy_operations_max);
  }
  if (wanted.time_ms < 1 || wanted.time_ms > limits::policy_time_ms_max) {
    return refuse_limit("policy time_ms", limits::policy_time_ms_max);
  }
  auto compiled = RhaiScript::compile(source, wanted, unix_ms(clock.wall()));
  if (!options.is_silent) write_log(options.name, {}, compiled.log);
  if (!compiled.value) return refuse(options.name, compiled.value.error());
  if (!options.turns) options.turns = std::make_shared<PlacementTurns>();
  if (!options.counts) options.counts = std::make_shared<PolicyErrorCounts>();
  return std::unique_ptr<RhaiPolicy>(
      new RhaiPolicy(std::move(*compiled.value), clock, std::move(options)));
}

template <class Ask>
std::optional<ScriptAnswer> RhaiPolicy::ask(std::string_view hook, const PolicyJob& job, Ask call) {
  if (is_resting()) return std::nullopt;
  const auto start = std::chrono::steady_clock::now();
  auto outcome = call(unix_ms(clock_.wall()));
  if (!outcome.log.empty() && !options_.is_silent) write_log(options_.name, job.id, outcome.log);
  if (outcome.value) return std::move(*outcome.value);
  const auto took_ms = elapsed_ms(start, std::chrono::steady_clock::now());
  note_fault(hook, job, std::move(outcome.value.error()), took_ms);
  return std::nullopt;
}

Placement RhaiPolicy::schedule_job(const PolicyJob& job, std::span<const PolicyWorker> workers) {
  if (!script_.hooks().schedule_job) return {};
  auto answer = ask("schedule_job", job, [&](std::int64_t now_ms) {
    return script_.schedule_job(job, workers, *options_.turns, now_ms);
  });
  if (!answer) return {};
  Placement placement{.decided_by = place(answer->line)};
  switch (answer->kind) {
    case ScriptAnswer::Kind::worker:
      placement.kind = Placement::Kind::worker;
      placement.worker = answer->worker;
      options_.turns->note(workers[answer->worker].id);
      return placement;
    case ScriptAnswer::Kind::wait:
      placement.kind = Placement::Kind::wait;
      return placement;
    case ScriptAnswer::Kind::reject:
      placement.kind = Placement::Kind::reject;
      placement.reason = std::move(answer->reason);
      return placement;
    default:
      return {};
  }
}

Admission RhaiPolicy::should_admit(const PolicyJob& job, std::int64_t queue_depth) {
  if (!script_.hooks().should_admit) return {};
  auto answer = ask("should_admit", job, [&](std::int64_t now_ms) {
    return script_.should_admit(job, queue_depth, now_ms);
  });
  if (!answer) return {};
  switch (answer->kind) {
    case ScriptAnswer::Kind::yes:
      return {.kind = Admission::Kind::admit, .reason = {}};
    case ScriptAnswer::Kind::no:
      return {.kind = Admission::Kind::reject, .reason = "refused by the policy"};
    case ScriptAnswer::Kind::reject:
      return {.kind = Admission::Kind::reject, .reason = std::move(answer->reason)};
    default:
      return {};
  }
}

std::optional<bool> RhaiPolicy::should_retry(const PolicyJob& job, std::uint32_t attempt,
                                             const PolicyError& error) {
  if (!script_.hooks().should_retry) return std::nullopt;
  const auto answer = ask("should_retry", job, [&](std::int64_t now_ms) {
    return script_.should_retry(job, attempt, error, now_ms);
  });
  if (!answer || answer->kind == ScriptAnswer::Kind::built_in) return std::nullopt;
  return answer->kind == ScriptAnswer::Kind::yes;
}

void RhaiPolicy::note_fault(std::string_view hook, const PolicyJob& job, ScriptFault fault,
                            double took_ms) {
  options_.counts->add(fault.kind);
  if (!options_.is_silent && fault_lines_.take(clock_.now())) {
    log_event(LogLevel::warn, component, "policy_failed",
              {{"policy", std::string_view(options_.name)},
               {"hook", hook},
               {"kind", wire_name(fault.kind)},
               {"line", std::int64_t{fault.line}},
               {"column", std::int64_t{fault.column}},
               {"message", std::string_view(fault.message)},
               {"took_ms", took_ms},
               {"job_id", job.id}});
  }
  // One that fails otherwise, but slowly, holds up decisions as well.
  const bool slow = took_ms > static_cast<double>(options_.limits.time_ms) / 2;
  const bool costs = is_limit(fault.kind) || fault.kind == PolicyErrorKind::panic || slow;
  last_fault_ = {.fault = std::move(fault), .hook = std::string(hook), .at = clock_.wall()};
  if (costs && rest_.note_hit(clock_.now()) && !options_.is_silent) {
    log_event(LogLevel::error, component, "policy_rests",
              {{"policy", std::string_view(options_.name)}, {"rest_ms", limits::policy_rest_ms}});
  }
}

std::string RhaiPolicy::place(std::uint32_t line) const {
  return line == 0 ? options_.name : options_.name + ":" + std::to_string(line);
}

}  // namespace llorch
