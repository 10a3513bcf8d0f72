#include "policy/policy_case.h"

#include <gtest/gtest.h>

#include "policy/testing.h"

namespace llorch {
namespace {

PolicyCaseResult run_one(std::string_view json, std::string_view source) {
  const auto cases = decode_policy_cases(json);
  if (!cases) {
    ADD_FAILURE() << cases.error().message;
    return {};
  }
  const auto result = run_policy_case(cases->front(), source, patient);
  if (!result) ADD_FAILURE() << result.error().message;
  return result.value_or(PolicyCaseResult{});
}

TEST(PolicyCase, ComparesTheAnswerOfEveryHook) {
  constexpr std::string_view source =
      "fn schedule_job(job, workers) {\n"
      "  if job.id == \"w\" { wait() } else if job.id == \"r\" { reject(\"no\") }\n"
      "  else if job.id == \"t\" { throw \"oh\" } else if job.id == \"b\" { workers[0] }\n"
      "}\n"
      "fn should_admit(job, queue_depth) { if queue_depth > 5 { reject(\"full\") } else { now_ms() "
      "== 61000 } }\n"
      "fn should_retry(job, attempt, error) { attempt == 1 && error.kind == \"timeout\" }\n";
  struct Case {
    const char* json;
    bool passed;
    const char* got;
  };
  const Case cases[] = {
      {R"({"job":{"id":"b"},"workers":[{"id":"x"}],"expect":{"worker":"x"}})", true, "worker x"},
      {R"({"job":{"id":"b"},"workers":[{"id":"x"}],"expect":{"worker":"y"}})", false, "worker x"},
      {R"({"job":{"id":"w"},"workers":[{"id":"x"}],"expect":{"wait":true}})", true, "wait"},
      {R"({"job":{"id":"r"},"workers":[{"id":"x"}],"expect":{"reject":true}})", true, "reject: no"},
      {R"({"job":{"id":"r"},"workers":[{"id":"x"}],"expect":{"reject":"no"}})", true, "reject: no"},
      {R"({"job":{"id":"r"},"workers":[{"id":"x"}],"expect":{"reject":"yes"}})", false,
       "reject: no"},
      {R"({"job":{"id":"?"},"workers":[{"id":"x"}],"expect":{"built_in":true}})", true, "built-in"},
      {R"({"job":{"id":"t"},"workers":[{"id":"x"}],"expect":{"built_in":true}})", false,
       "failed: line 3: oh"},
      {R"({"now":"1970-01-01T00:01:01Z","expect":{"admit":true}})", true, "yes"},
      {R"({"now":"1970-01-01T00:01:00.500Z","expect":{"admit":false}})", true,
       "reject: refused by the policy"},
      {R"({"queue_depth":6,"expect":{"reject":"full"}})", true, "reject: full"},
      {R"({"error":{"kind":"timeout"},"expect":{"retry":true}})", true, "yes"},
      {R"({"error":{"kind":"timeout"},"attempt":2,"expect":{"retry":false}})", true, "no"}};
  for (const auto& [json, passed, got] : cases) {
    SCOPED_TRACE(json);
    const auto result = run_one(json, source);
    EXPECT_EQ(result.passed, passed);
    EXPECT_EQ(result.got, got);
  }
}

TEST(PolicyCase, RefusesWhatIsNoCase) {
  for (const auto* const json :
       {"7", "[7]", "{}", R"({"expect":{}})", R"({"expect":{"wait":true,"admit":true}})",
        R"({"expect":{"wait":true},"workers":7})", R"({"expect":{"admit":true},"now":"noon"})",
        R"({"expect":{"admit":true},"now":"2026-02-30T00:00:00Z"})",
        R"({"expect":{"admit":true},"now":"2026-01-05 09:30"})",
        R"({"expect":{"admit":true},"x":1})"}) {
    SCOPED_TRACE(json);
    const auto cases = decode_policy_cases(json);
    ASSERT_FALSE(cases.has_value());
    EXPECT_EQ(cases.error().code, Code::invalid_request);
  }
}

TEST(PolicyCase, SaysWhyAScriptDoesNotLoad) {
  const auto cases =
      decode_policy_cases(R"([{"expect":{"admit":true}},{"expect":{"admit":true}}])");
  ASSERT_TRUE(cases.has_value());
  EXPECT_EQ(cases->size(), 2U);
  const auto result = run_policy_case(cases->front(), "fn (");
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, Code::invalid_request);
}

}  // namespace
}  // namespace llorch
