// Scripts that mean harm, or are badly wrong: each costs little, loses no job and prints nothing.
#include <functional>
#include <gtest/gtest.h>
#include <pthread.h>

#include "policy/policy_host.h"
#include "policy/testing.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

namespace llorch {
namespace {

// Doubled, not padded: the sanitizers make each of thousands of steps slow.
const std::string long_text = "let s = \"x\"; while s.len() < 30000 { s += s; } ";

struct Hostile {
  const char* name;
  PolicyErrorKind kind;  // what stops it
  std::string body;
};

std::vector<Hostile> hostile_scripts() {
  using enum PolicyErrorKind;
  return {
      {"string doubled", size, "let s = \"x\"; loop { s += s; }"},
      {"array grown", size, "let a = []; loop { a.push(1); }"},
      {"array doubled", size, "let a = [1]; loop { a += a; }"},
      {"blob", size, "blob(1000000000)"},
      {"string padded", size, "let s = \"\"; s.pad(1000000000, \"x\");"},
      {"array padded", size, "let a = []; a.pad(1000000000, 1);"},
      {"string replaced", size, long_text + "let t = s; s.replace(\"x\", t);"},
      {"between all characters", size, long_text + "s.replace(\"\", \"yy\");"},
      {"string split", size, long_text + "s.split(\"\")"},
      {"string split in parts", size, long_text + "s.split_rev('x', 50000)"},
      {"characters", size, long_text + "s.to_chars()"},
      {"text of parts", size, long_text + "`${s}${s}${s}`"},
      {"recursion", depth, "schedule_job(job, workers)"},
      {"closure recursion", depth, "fn_recursion(0)"},
      {"caught recursion", depth, "try { schedule_job(job, workers) } catch { \"b\" }"},
  };
}

class HostileScript : public testing::Test {
 protected:
  Placement run(const std::string& body, ScriptLimits limits = {}) {
    const std::string helpers =
        "fn fn_recursion(n) { let f = |x| fn_recursion(x + 1); f.call(n) }\n";
    policy_ = loaded(helpers + schedules(body), clock_, {.limits = limits});
    return policy_->schedule_job(view_of(job_), views_of(fleet_));
  }

  FakeClock clock_;
  RecordedJob job_ = test_job();
  std::vector<RecordedWorker> fleet_ = test_fleet();
  std::unique_ptr<RhaiPolicy> policy_;
};

TEST_F(HostileScript, IsStoppedByTheLimitItRunsInto) {
  testing::internal::CaptureStdout();
  for (const auto& [name, kind, body] : hostile_scripts()) {
    SCOPED_TRACE(name);
    EXPECT_EQ(run(body, {.operations = 1'000'000, .time_ms = 50}).kind, Placement::Kind::built_in);
    ASSERT_TRUE(policy_->last_fault());
    EXPECT_EQ(wire_name(policy_->last_fault()->fault.kind), wire_name(kind))
        << policy_->last_fault()->fault.message;
    EXPECT_GT(policy_->last_fault()->fault.line, 0U);
  }
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
}

// Which of the limits comes first depends on the machine.
TEST_F(HostileScript, ALoopIsStopped) {
  for (const auto* const body :
       {"loop {}", "let a = []; loop { a = [a]; }", "while true { let x = 1; }",
        "for i in 0..9000000000 {}", "let i = 0; loop { i += 1; }",
        "loop { try { throw 1 } catch {} }", "workers.filter(|w| { loop {} })",
        "loop { workers.filter(|w| true); }", "let a = [3, 1, 2]; loop { a.sort(); }",
        "let m = #{}; let i = 0; loop { m[\"k\" + i] = i; i += 1; }"}) {
    SCOPED_TRACE(body);
    EXPECT_EQ(run(body).kind, Placement::Kind::built_in);
    ASSERT_TRUE(policy_->last_fault());
    EXPECT_TRUE(is_limit(policy_->last_fault()->fault.kind))
        << policy_->last_fault()->fault.message;
  }
}

TEST_F(HostileScript, OperationsAndTimeAreLimitsOfTheirOwn) {
  run("loop {}", {.operations = 1'000, .time_ms = 50});
  EXPECT_EQ(policy_->last_fault()->fault.kind, PolicyErrorKind::operations);
  run(long_text + "loop { s + \"y\"; }", {.operations = 1'000'000, .time_ms = 1});
  EXPECT_EQ(policy_->last_fault()->fault.kind, PolicyErrorKind::time);
}

TEST_F(HostileScript, ManyValuesTogetherAreLimited) {
  std::string body = long_text;
  for (int i = 0; i < 200; ++i)
    body += "let v" + std::to_string(i) + " = s + \"\"; v" + std::to_string(i) + " += \"y\"; ";
  run(body, {.operations = 1'000'000, .time_ms = 50});
  ASSERT_TRUE(policy_->last_fault());
  EXPECT_EQ(policy_->last_fault()->fault.kind, PolicyErrorKind::size)
      << policy_->last_fault()->fault.message;
}

TEST_F(HostileScript, TooManyVariablesAreRefused) {
  std::string body;
  for (int i = 0; i < 300; ++i) body += "let v" + std::to_string(i) + " = 1; ";
  run(body);
  EXPECT_EQ(policy_->last_fault()->fault.kind, PolicyErrorKind::size);
}

// Runs `body` on a stack of `bytes`; an overflow ends the test program.
void run_on_stack(std::size_t bytes, std::function<void()> body) {
  pthread_attr_t wanted;
  ASSERT_EQ(pthread_attr_init(&wanted), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&wanted, bytes), 0);
  pthread_t thread{};
  const auto call = [](void* function) -> void* {
    (*static_cast<std::function<void()>*>(function))();
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &wanted, call, &body), 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&wanted);
}

// Freed one inside the other: the deepest chain there can be must fit half of a usual stack.
TEST_F(HostileScript, ClosuresInClosuresAreFreedSafely) {
  const char* const chains[] = {"let f = || 0; loop { let g = f; f = || g.call(); }",
                                "let f = || 0; loop { let g = [f]; f = || g.len(); }",
                                "let f = || 0; loop { let g = #{f: f}; f = || g.len(); }",
                                "let f = Fn(\"x\"); loop { f = Fn(\"x\").curry(f); }",
                                "let f = Fn(\"x\"); loop { f = Fn(\"x\").curry([f]); }",
                                "let f = 0; loop { f = #{a: Fn(\"x\").curry(f)}; }"};
  for (const auto* const chain : chains) {
    SCOPED_TRACE(chain);
    run_on_stack(4 * limits::mib, [&] {
      run(chain, {.operations = limits::policy_operations_max, .time_ms = 50});
      ASSERT_TRUE(policy_->last_fault());
      EXPECT_TRUE(is_limit(policy_->last_fault()->fault.kind))
          << policy_->last_fault()->fault.message;
      policy_.reset();
    });
  }
}

// What walks through such a chain must fit as well: print, throw, compare, hash, copy.
TEST_F(HostileScript, ClosuresInClosuresAreReadSafely) {
  const char* const chains[] = {"f = Fn(\"x\").curry(f);", "let g = f; f = || g.call();"};
  const char* const readers[] = {"debug(f);",
                                 "print(f);",
                                 "throw f",
                                 "f.to_debug()",
                                 "f == f",
                                 "switch f { 1 => 2, _ => 3 }",
                                 "[f, f, f].len()",
                                 "f.call(1)",
                                 "log_info(#{a: f})",
                                 "let h = [f]; h += h;",
                                 "[f].index_of(f)",
                                 "f"};
  for (const auto* const chain : chains) {
    for (const auto* const reader : readers) {
      SCOPED_TRACE(std::string(chain) + " " + reader);
      run_on_stack(4 * limits::mib, [&] {
        run(std::string("let f = || 0; for i in 0..2000 { ") + chain + " } " + reader,
            {.operations = limits::policy_operations_max, .time_ms = 50});
        policy_.reset();
      });
    }
  }
}

// Closures that hold each other are never freed: what is left behind is counted.
TEST_F(HostileScript, MemoryLeftBehindIsBounded) {
#ifdef __SANITIZE_ADDRESS__
  const __lsan::ScopedDisabler leaks_are_expected;
#endif
  const auto body = long_text + "let f = (); f = || { s; f }; \"b\"";
  const auto first = run(body);
  EXPECT_EQ(first.kind, Placement::Kind::worker);
  int calls = 1;
  while (!policy_->last_fault() && calls < 1'000) {
    policy_->schedule_job(view_of(job_), views_of(fleet_));
    ++calls;
  }
  ASSERT_TRUE(policy_->last_fault()) << "nothing was left behind";
  EXPECT_EQ(policy_->last_fault()->fault.kind, PolicyErrorKind::size);
  EXPECT_LT(calls, 200);
}

TEST_F(HostileScript, AWellBehavedScriptLeavesNothingBehind) {
  policy_ = loaded(
      schedules("log_info(job.id); workers.filter(|w| w.model == job.model).best(job)"), clock_);
  for (int i = 0; i < 20'000; ++i) policy_->schedule_job(view_of(job_), views_of(fleet_));
  EXPECT_FALSE(policy_->last_fault()) << policy_->last_fault()->fault.message;
}

TEST_F(HostileScript, DeepSourcesAreRefused) {
  for (const auto& [open, close] : {std::pair{"(", ")"},
                                    {"[", "]"},
                                    {"{", "}"},
                                    {"if true {", "}"},
                                    {"-", ""},
                                    {"!", ""},
                                    {"|x| ", "1"},
                                    {"#{a:", "}"},
                                    {"f(", ")"}}) {
    SCOPED_TRACE(open);
    std::string source = "fn f(x) { ";
    for (int i = 0; i < 10'000; ++i) source += open;
    source += "1";
    for (int i = 0; i < 10'000; ++i) source += close;
    const auto policy = RhaiPolicy::load(source + " }", clock_);
    EXPECT_FALSE(policy.has_value());
  }
}

TEST_F(HostileScript, ConstantsAreNotFoldedWithoutLimits) {
  std::string source = "const C0 = \"xxxxxxxxxxxxxxxx\";\n";
  for (int i = 1; i < 60; ++i) {
    const auto before = "C" + std::to_string(i - 1);
    source += "const C" + std::to_string(i) + " = " + before + " + " + before + ";\n";
  }
  const auto policy = RhaiPolicy::load(source, clock_);
  ASSERT_FALSE(policy.has_value());
  EXPECT_EQ(policy.error().violations[0].constraint, "size");
}

TEST_F(HostileScript, PrintsNothing) {
  testing::internal::CaptureStdout();
  run("print(\"out\"); debug(\"out\"); \"b\"");
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
}

// A worker kept by a global closure would be of an earlier call; such closures do not load, and the
// value itself would be refused.
TEST_F(HostileScript, NothingIsKeptFromCallToCall) {
  EXPECT_FALSE(
      RhaiPolicy::load("let kept = (); let keep = |w| { kept = w; };" + schedules("()"), clock_));
  run("let hidden = workers[0]; hidden");
  fleet_.clear();
  EXPECT_EQ(policy_->schedule_job(view_of(job_), views_of(fleet_)).kind, Placement::Kind::built_in);
}

}  // namespace
}  // namespace llorch
