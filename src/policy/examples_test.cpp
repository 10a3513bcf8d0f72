// Every policy of deploy/policies passes its own cases, as `llorch policy test` would run them.
#include <filesystem>
#include <gtest/gtest.h>

#include "policy/policy_case.h"
#include "policy/testing.h"
#include "sys/file_system.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  const auto files = make_file_system();
  const auto text = files->read(path, limits::decision_bytes_max);
  if (!text) ADD_FAILURE() << text.error().message;
  return text.value_or("");
}

class PolicyExample : public testing::TestWithParam<const char*> {};

TEST_P(PolicyExample, PassesItsCases) {
  const fs::path folder = LLORCH_POLICY_EXAMPLES;
  const auto source = text_of(folder / (std::string(GetParam()) + ".rhai"));
  int cases_seen = 0;
  for (const auto& entry : fs::directory_iterator(folder / "tests" / GetParam())) {
    const auto cases = decode_policy_cases(text_of(entry.path()));
    ASSERT_TRUE(cases.has_value()) << entry.path() << ": " << cases.error().message;
    for (const auto& wanted : *cases) {
      SCOPED_TRACE(wanted.name);
      ++cases_seen;
      const auto result = run_policy_case(wanted, source, patient);
      ASSERT_TRUE(result.has_value()) << result.error().message;
      EXPECT_TRUE(result->passed) << "expected " << wanted.expected << ", got " << result->got;
    }
  }
  EXPECT_GE(cases_seen, 4);
}

INSTANTIATE_TEST_SUITE_P(DeployPolicies, PolicyExample,
                         testing::Values("priority-tiers", "pin-model", "business-hours",
                                         "prefer-gpu", "tenant-caps"),
                         [](const auto& example) {
                           std::string name = example.param;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace llorch
