#include "orchestrator/ended_jobs.h"

#include <gtest/gtest.h>
#include <string>

#include "base/limits.h"

namespace llorch {
namespace {

using std::chrono::milliseconds;

// clause: O-52
TEST(EndedJobs, KeepsTheNewestByNumber) {
  EndedJobs ended(5);
  const SteadyTime now{};
  for (int n = 0; n < 7; ++n) ended.add(JobId{std::to_string(n)}, 10, now);
  const auto going = ended.surplus(now);
  ASSERT_EQ(going.size(), 2U);
  EXPECT_EQ(going[0].value, "0");
  EXPECT_EQ(going[1].value, "1");
  EXPECT_EQ(ended.bytes(), 50U);
  EXPECT_TRUE(ended.surplus(now).empty());
}

// clause: O-52
TEST(EndedJobs, KeepsTheNewestBySizeOnceTheStoreHasTheOthers) {
  EndedJobs ended(1'000);
  const SteadyTime now{};
  for (int n = 0; n < 4; ++n) ended.add(JobId{std::to_string(n)}, 20 * limits::mib, now);
  EXPECT_TRUE(ended.surplus(now).empty()) << "its end may not be written yet";
  const auto going = ended.surplus(now + milliseconds(1'000));
  ASSERT_EQ(going.size(), 1U);
  EXPECT_EQ(going[0].value, "0");
  EXPECT_EQ(ended.bytes(), 60 * limits::mib);
}

}  // namespace
}  // namespace llorch
