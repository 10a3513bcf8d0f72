#include "policy/rhai_policy.h"

#include <gtest/gtest.h>

#include "policy/testing.h"

namespace llorch {
namespace {

class RhaiPolicyTest : public testing::Test {
 protected:
  Placement schedule(std::string_view source) {
    policy_ = loaded(source, clock_);
    return policy_ ? again() : Placement{};
  }
  Placement again() { return policy_->schedule_job(view_of(job_), views_of(fleet_)); }
  std::string fault() const {
    const auto& last = policy_->last_fault();
    if (!last) return "";
    return std::string(wire_name(last->fault.kind)) + " " + std::to_string(last->fault.line) +
           ": " + last->fault.message;
  }

  FakeClock clock_;
  RecordedJob job_ = test_job();
  std::vector<RecordedWorker> fleet_ = test_fleet();
  std::unique_ptr<RhaiPolicy> policy_;
};
using PolicyHooks = RhaiPolicyTest;
using PolicyFaults = RhaiPolicyTest;

TEST_F(PolicyHooks, ScheduleJobGivesAWorkerItsIdOrADecision) {
  struct Case {
    const char* body;
    Placement::Kind kind;
    std::size_t worker;
    const char* reason;
  };
  const Case cases[] = {{"workers[2]", Placement::Kind::worker, 2, ""},
                        {"\"b\"", Placement::Kind::worker, 1, ""},
                        {"return workers.best(job);", Placement::Kind::worker, 1, ""},
                        {"()", Placement::Kind::built_in, 0, ""},
                        {"", Placement::Kind::built_in, 0, ""},
                        {"workers.filter(|w| false).first()", Placement::Kind::built_in, 0, ""},
                        {"wait()", Placement::Kind::wait, 0, ""},
                        {"reject(\"too long\")", Placement::Kind::reject, 0, "too long"}};
  for (const auto& [body, kind, worker, reason] : cases) {
    SCOPED_TRACE(body);
    const auto placement = schedule(schedules(body));
    EXPECT_EQ(placement.kind, kind);
    EXPECT_EQ(placement.worker, worker);
    EXPECT_EQ(placement.reason, reason);
    EXPECT_EQ(fault(), "");
  }
}

TEST_F(PolicyHooks, APlacementNamesTheLineThatDecided) {
  EXPECT_EQ(schedule("// pins\nfn schedule_job(job, workers) {\n  workers.best(job)\n}").decided_by,
            "orchestration.rhai:3");
  EXPECT_EQ(schedule("\nfn schedule_job(job, workers) {\n\n  \"b\"\n}").decided_by,
            "orchestration.rhai:2");
  EXPECT_EQ(schedule("fn schedule_job(job, workers) {\n\n  wait()\n}").decided_by,
            "orchestration.rhai:3");
}

TEST_F(PolicyHooks, ShouldAdmitGivesABoolOrAReason) {
  struct Case {
    const char* body;
    Admission::Kind kind;
    const char* reason;
  };
  const Case cases[] = {{"true", Admission::Kind::admit, ""},
                        {"false", Admission::Kind::reject, "refused by the policy"},
                        {"reject(\"full: \" + queue_depth)", Admission::Kind::reject, "full: 7"},
                        {"job.tenant == \"acme\"", Admission::Kind::admit, ""},
                        {"()", Admission::Kind::built_in, ""}};
  for (const auto& [body, kind, reason] : cases) {
    SCOPED_TRACE(body);
    const auto policy =
        loaded("fn should_admit(job, queue_depth) { " + std::string(body) + " }", clock_);
    const auto admission = policy->should_admit(view_of(job_), 7);
    EXPECT_EQ(admission.kind, kind);
    EXPECT_EQ(admission.reason, reason);
  }
}

TEST_F(PolicyHooks, ShouldRetryGivesABool) {
  const PolicyError error{.kind = "worker_lost", .code = "WORKER_LOST", .message = "gone"};
  struct Case {
    const char* body;
    std::optional<bool> want;
  };
  const Case cases[] = {{"attempt < 3", true},
                        {"attempt > 3", false},
                        {"error.kind == \"worker_lost\"", true},
                        {"error.code == \"WORKER_LOST\" && error.message == \"gone\"", true},
                        {"()", std::nullopt},
                        {"wait()", std::nullopt}};
  for (const auto& [body, want] : cases) {
    SCOPED_TRACE(body);
    const auto policy =
        loaded("fn should_retry(job, attempt, error) { " + std::string(body) + " }", clock_);
    EXPECT_EQ(policy->should_retry(view_of(job_), 2, error), want);
  }
}

TEST_F(PolicyHooks, AMissingHookIsBuiltIn) {
  policy_ = loaded("fn helper() { 1 }", clock_);
  EXPECT_EQ(again().kind, Placement::Kind::built_in);
  EXPECT_EQ(policy_->should_admit(view_of(job_), 0).kind, Admission::Kind::built_in);
  EXPECT_EQ(policy_->should_retry(view_of(job_), 0, {}), std::nullopt);
  EXPECT_EQ(policy_->counts().total(), 0U);
}

TEST_F(PolicyHooks, RoundRobinCountsPlacements) {
  policy_ = loaded(schedules("workers.round_robin()"), clock_);
  std::string seen;
  for (int i = 0; i < 4; ++i) seen += fleet_[again().worker].id;
  EXPECT_EQ(seen, "acba") << "those never chosen yet by their memory";
}

TEST_F(PolicyFaults, AFailureLeavesTheChoiceAndIsCounted) {
  struct Case {
    const char* body;
    const char* want;
  };
  const Case cases[] = {
      {"throw \"no\"", "thrown 1: no"},
      {"1 / 0", "runtime 1: Division by zero: 1 / 0"},
      {"nothing_of_that_name()", "runtime 1: Function not found: nothing_of_that_name ()"},
      {"7", "nonsense 1: schedule_job answered with a value of type i64"},
      {"true", "nonsense 1: schedule_job answered with a value of type bool"},
      {"workers", "nonsense 1: schedule_job answered with a value of type WorkerList"},
      {"\"z\"", "nonsense 1: schedule_job answered \"z\", which is none of the workers offered"},
      {"sleep(1)", "thrown 1: sleep() is not available in a policy"},
      {"sleep(0.5)", "thrown 1: sleep() is not available in a policy"},
      {"Fn(\"sleep\").call(1)", "thrown 1: sleep() is not available in a policy"},
      {"parse_json(\"1\")", "thrown 1: parse_json() is not available in a policy"}};
  for (const auto& [body, want] : cases) {
    SCOPED_TRACE(body);
    EXPECT_EQ(schedule(schedules(body)).kind, Placement::Kind::built_in);
    EXPECT_EQ(fault(), want);
    EXPECT_EQ(policy_->counts().total(), 1U);
    EXPECT_EQ(policy_->counts().of(policy_->last_fault()->fault.kind), 1U);
    EXPECT_EQ(policy_->last_fault()->hook, "schedule_job");
  }
}

TEST_F(PolicyFaults, AFailureNamesTheInnermostLineAndColumn) {
  schedule(
      "fn inner(w) {\n  let x = 1;\n  w.no_such_field\n}\n\nfn schedule_job(job, workers) {\n"
      "  inner(workers[0])\n}");
  ASSERT_TRUE(policy_->last_fault());
  EXPECT_EQ(policy_->last_fault()->fault.line, 3U);
  EXPECT_EQ(policy_->last_fault()->fault.column, 5U);
}

TEST_F(PolicyFaults, DecisionsOfOneHookAreNonsenseInAnother) {
  const auto policy = loaded(
      "fn should_admit(job, queue_depth) { wait() }\n"
      "fn should_retry(job, attempt, error) { reject(\"no\") }",
      clock_);
  EXPECT_EQ(policy->should_admit(view_of(job_), 0).kind, Admission::Kind::built_in);
  EXPECT_EQ(policy->should_retry(view_of(job_), 0, {}), std::nullopt);
  EXPECT_EQ(policy->counts().of(PolicyErrorKind::nonsense), 2U);
}

TEST_F(PolicyFaults, ALongReasonIsCut) {
  const auto placement =
      schedule(schedules("let s = \"x\"; while s.len() < 9000 { s += s; } reject(s)"));
  EXPECT_EQ(placement.reason.size(), limits::policy_reason_bytes_max);
}

TEST_F(PolicyFaults, ThreeLimitHitsPutItToRest) {
  const auto source = schedules("if job.age_ms == 0 { loop {} } \"b\"");
  job_.age_ms = 0;
  schedule(source);
  for (int i = 0; i < 2; ++i) {
    clock_.advance(std::chrono::milliseconds(1'000));
    EXPECT_FALSE(policy_->is_resting());
    EXPECT_EQ(again().kind, Placement::Kind::built_in);
  }
  EXPECT_TRUE(policy_->is_resting());
  job_.age_ms = 1;
  EXPECT_EQ(again().kind, Placement::Kind::built_in) << "while it rests it is not asked";
  EXPECT_EQ(policy_->counts().total(), 3U);
  clock_.advance(std::chrono::milliseconds(limits::policy_rest_ms));
  EXPECT_EQ(again().kind, Placement::Kind::worker);
}

TEST_F(PolicyFaults, QuickFailuresDoNotPutItToRest) {
  schedule(schedules("if job.age_ms == 0 { throw 1 } \"b\""));
  job_.age_ms = 0;
  for (int i = 0; i < 20; ++i) again();
  job_.age_ms = 1;
  EXPECT_EQ(again().kind, Placement::Kind::worker);
  EXPECT_EQ(policy_->counts().of(PolicyErrorKind::thrown), 20U);
}

TEST(RhaiPolicyLoad, RefusesWhatCannotBeUsedAndSaysWhere) {
  struct Case {
    const char* name;
    std::string source;
    const char* want;
  };
  const Case cases[] = {
      {"syntax", "fn schedule_job(job, workers) {\n  workers.best(job\n}",
       "orchestration.rhai:3:1: "},
      {"unknown variable", "fn f() {\n  job.id\n}",
       "orchestration.rhai:2:3: Undefined variable: job"},
      {"wrong parameters", "\nfn should_admit(job) { true }",
       "orchestration.rhai:2:1: should_admit takes (job, queue_depth)"},
      {"fails at once", "let a = 1;\nthrow \"no\";", "orchestration.rhai:2:1: no"},
      {"loops at once", "loop {}", "orchestration.rhai:1:6: "},
      {"not UTF-8", "\xFF", "orchestration.rhai: the script is not UTF-8"},
      {"too large", std::string(limits::policy_source_bytes_max + 1, ' '),
       "orchestration.rhai: more than 262144 bytes"},
      {"eval", "fn f() { eval(\"1\") }", "orchestration.rhai:1:"},
      {"import", "import \"x\" as x;", "orchestration.rhai:1:"},
      {"keeps state", "let n = 0; let count = || { n += 1; n };",
       "orchestration.rhai: 'count' is changed"},
      {"keeps state inside", "let count = { let n = 0; || { n += 1; n } };",
       "orchestration.rhai: 'count' is changed"}};
  FakeClock clock;
  for (const auto& [name, source, want] : cases) {
    SCOPED_TRACE(name);
    const auto policy = RhaiPolicy::load(source, clock);
    ASSERT_FALSE(policy.has_value());
    EXPECT_EQ(policy.error().code, Code::invalid_request);
    EXPECT_TRUE(policy.error().message.starts_with(want)) << policy.error().message;
    ASSERT_EQ(policy.error().violations.size(), 1U);
    EXPECT_EQ(policy.error().violations[0].field, "source");
  }
}

TEST(RhaiPolicyLoad, RefusesLimitsOutOfRange) {
  FakeClock clock;
  for (const ScriptLimits limits :
       {ScriptLimits{.operations = 0}, ScriptLimits{.operations = 1'000'001},
        ScriptLimits{.time_ms = 0}, ScriptLimits{.time_ms = 51}}) {
    const auto policy = RhaiPolicy::load("", clock, {.limits = limits});
    ASSERT_FALSE(policy.has_value());
    EXPECT_EQ(policy.error().code, Code::invalid_request);
  }
  EXPECT_TRUE(RhaiPolicy::load("", clock, {.limits = {.operations = 1'000'000, .time_ms = 50}}));
}

}  // namespace
}  // namespace llorch
