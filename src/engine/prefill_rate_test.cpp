#include "engine/prefill_rate.h"

#include <gtest/gtest.h>

namespace llorch {
namespace {

TEST(PrefillRate, KnowsNothingFromShortPrompts) {
  PrefillRate rate;
  EXPECT_EQ(rate.per_second(), 0);
  rate.add(0, 5);
  rate.add(5, 0);
  for (int i = 0; i < 100; ++i) rate.add(20, 60);
  EXPECT_EQ(rate.per_second(), 0);
  for (int i = 0; i < 4; ++i) rate.add(256, 512);
  EXPECT_NEAR(rate.per_second(), 500, 50);
}

// A worker whose prompts were all cached told of a fifth of its speed, and was passed over.
TEST(PrefillRate, CachedPromptsDoNotMakeAWorkerSlow) {
  PrefillRate rate;
  for (int i = 0; i < 16; ++i) rate.add(256, 512);
  for (int i = 0; i < 1'000; ++i) rate.add(4, 12);
  EXPECT_NEAR(rate.per_second(), 500, 15);
}

TEST(PrefillRate, FollowsAChangeWithinAFewThousandTokens) {
  PrefillRate rate;
  for (int i = 0; i < 40; ++i) rate.add(512, 1'024);
  for (int i = 0; i < 40; ++i) rate.add(512, 2'048);
  EXPECT_NEAR(rate.per_second(), 250, 5);
}

}  // namespace
}  // namespace llorch
