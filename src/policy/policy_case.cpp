#include "policy/policy_case.h"

#include <limits>
#include <utility>

#include "base/clock.h"
#include "policy/replay.h"
#include "protocol/json_parse.h"

namespace llorch {
namespace {

void read_now(FieldReader& fields, PolicyCase& into) {
  const auto text = fields.text("now", record_text);
  if (!text) return;
  if (const auto time = parse_rfc3339(*text)) {
    into.now_ms = unix_ms(*time);
  } else {
    fields.add("now", "time", "must be a time such as 2026-01-05T09:30:00Z");
  }
}

void read_error(FieldReader& fields, PolicyCase& into) {
  into.error_kind = fields.text("kind", record_text).value_or("worker_lost");
  into.error_code = fields.text("code", record_text).value_or("WORKER_LOST");
  into.error_message = fields.text("message", record_text).value_or("");
  fields.refuse_others();
}

// One of the forms of `expect`, as text that the answer is compared with. False: none, or several.
bool read_expected(FieldReader& fields, PolicyCase& into) {
  std::vector<std::string> given;
  if (const auto worker = fields.text("worker", record_text)) given.push_back("worker " + *worker);
  if (fields.boolean("wait").value_or(false)) given.emplace_back("wait");
  if (fields.boolean("built_in").value_or(false)) given.emplace_back("built-in");
  if (const auto admit = fields.boolean("admit")) given.emplace_back(*admit ? "yes" : "no");
  if (const auto retry = fields.boolean("retry")) given.emplace_back(*retry ? "yes" : "no");
  if (const auto* const reject = fields.any("reject")) {
    const bool any_reason = reject->is_bool() && reject->get_bool();
    const auto reason = any_reason ? std::nullopt : fields.text("reject", record_text);
    if (any_reason) given.emplace_back("reject");
    if (reason) given.push_back("reject: " + *reason);
  }
  fields.refuse_others();
  if (given.size() != 1) return false;
  into.expected = std::move(given.front());
  return true;
}

PolicyCase read_case(const boost::json::object& object, Violations& violations,
                     const std::string& path) {
  FieldReader fields(object, violations, path);
  PolicyCase read;
  read.name = fields.text("name", record_text).value_or("");
  read_now(fields, read);
  if (const auto* const job = fields.object("job")) {
    FieldReader inner(*job, violations, path + "job.");
    read.job = read_job(inner);
  }
  read.workers = read_workers(fields, violations);
  read.queue_depth = static_cast<std::int64_t>(
      fields.integer("queue_depth", 0, std::numeric_limits<std::int32_t>::max()).value_or(0));
  read.attempt = static_cast<std::uint32_t>(fields.integer("attempt", 0, 1'000'000).value_or(1));
  read.hook = PolicyCase::Hook::should_admit;
  if (!read.workers.empty()) read.hook = PolicyCase::Hook::schedule_job;
  if (const auto* const error = fields.object("error")) {
    read.hook = PolicyCase::Hook::should_retry;
    FieldReader inner(*error, violations, path + "error.");
    read_error(inner, read);
  }
  bool expects = false;
  if (const auto* const expect = fields.object("expect")) {
    FieldReader inner(*expect, violations, path + "expect.");
    expects = read_expected(inner, read);
  }
  if (!expects) {
    fields.add("expect", "required",
               "must have one of worker, wait, reject, built_in, admit and retry");
  }
  fields.refuse_others();
  return read;
}

std::string told(const Placement& placement, const PolicyCase& wanted) {
  switch (placement.kind) {
    case Placement::Kind::worker:
      return "worker " + wanted.workers[placement.worker].id;
    case Placement::Kind::wait:
      return "wait";
    case Placement::Kind::reject:
      return "reject: " + placement.reason;
    case Placement::Kind::built_in:
      break;
  }
  return "built-in";
}

std::string told(const Admission& admission) {
  switch (admission.kind) {
    case Admission::Kind::admit:
      return "yes";
    case Admission::Kind::reject:
      return "reject: " + admission.reason;
    case Admission::Kind::built_in:
      break;
  }
  return "built-in";
}

std::string told(std::optional<bool> again) {
  if (!again) return "built-in";
  return *again ? "yes" : "no";
}

std::string ask(RhaiPolicy& policy, const PolicyCase& wanted) {
  const auto job = view_of(wanted.job);
  switch (wanted.hook) {
    case PolicyCase::Hook::schedule_job:
      return told(policy.schedule_job(job, views_of(wanted.workers)), wanted);
    case PolicyCase::Hook::should_admit:
      return told(policy.should_admit(job, wanted.queue_depth));
    case PolicyCase::Hook::should_retry:
      break;
  }
  return told(policy.should_retry(
      job, wanted.attempt,
      {.kind = wanted.error_kind, .code = wanted.error_code, .message = wanted.error_message}));
}

// "reject" stands for any reason, and an admission of false for any refusal.
bool fits(const std::string& got, const PolicyCase& wanted) {
  if (got == wanted.expected) return true;
  const bool refused = got.starts_with("reject");
  return refused && (wanted.expected == "reject" ||
                     (wanted.hook == PolicyCase::Hook::should_admit && wanted.expected == "no"));
}

}  // namespace

Result<std::vector<PolicyCase>> decode_policy_cases(std::string_view text) {
  const auto value = parse_json(text, limits::decision_bytes_max);
  if (!value) return fail(value.error());
  Violations violations;
  std::vector<PolicyCase> cases;
  if (const auto* const object = value->if_object()) {
    cases.push_back(read_case(*object, violations, ""));
  } else if (const auto* const list = value->if_array();
             list != nullptr && list->size() <= limits::policy_cases_max) {
    for (std::size_t i = 0; i < list->size(); ++i) {
      const auto path = "[" + std::to_string(i) + "]";
      if (const auto* const item = (*list)[i].if_object()) {
        cases.push_back(read_case(*item, violations, path + "."));
      } else {
        violations.add(path, "object", path + " must be an object");
      }
    }
  } else {
    violations.add("", "object or array",
                   "a file of cases must have one object, or a list of at most " +
                       std::to_string(limits::policy_cases_max));
  }
  if (!violations.empty()) return fail(std::move(violations).error());
  return cases;
}

Result<PolicyCaseResult> run_policy_case(const PolicyCase& wanted, std::string_view source,
                                         const ScriptLimits& limits) {
  ReplayClock clock;
  clock.set(wanted.now_ms);
  const auto policy = RhaiPolicy::load(source, clock, {.name = "script", .limits = limits});
  if (!policy) return fail(policy.error());
  PolicyCaseResult result;
  result.got = ask(**policy, wanted);
  if (const auto& failure = (*policy)->last_fault()) {
    result.got =
        "failed: line " + std::to_string(failure->fault.line) + ": " + failure->fault.message;
    return result;
  }
  result.passed = fits(result.got, wanted);
  return result;
}

}  // namespace llorch
