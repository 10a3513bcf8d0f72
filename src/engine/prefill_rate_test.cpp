#include "engine/prefill_rate.h"

#include <gtest/gtest.h>

namespace llorch {
namespace {

TEST(PrefillRate, KnowsWhatItHasSeen) {
  PrefillRate rate;
  EXPECT_EQ(rate.per_second(), 0);
  rate.add(0, 5);
  rate.add(5, 0);
  EXPECT_EQ(rate.per_second(), 0);
  rate.add(10, 100);
  EXPECT_EQ(rate.per_second(), 0);  // a warm-up says nothing
  rate.add(256, 512);               // a long prompt says more than what a warm-up did
  EXPECT_NEAR(rate.per_second(), 500, 5);
  PrefillRate short_prompts;
  for (int i = 0; i < 3; ++i) short_prompts.add(64, 128);
  EXPECT_NEAR(short_prompts.per_second(), 500, 5);
}

// A worker whose prompts were all cached told of a fifth of its speed, and was passed over.
TEST(PrefillRate, CachedPromptsDoNotMakeAWorkerSlow) {
  PrefillRate rate;
  for (int i = 0; i < 16; ++i) rate.add(256, 512);
  for (int i = 0; i < 1'000; ++i) rate.add(1, 10);
  EXPECT_NEAR(rate.per_second(), 500, 5);
}

TEST(PrefillRate, FollowsAChangeWithinAFewThousandTokens) {
  PrefillRate rate;
  for (int i = 0; i < 40; ++i) rate.add(512, 1'024);
  for (int i = 0; i < 40; ++i) rate.add(512, 2'048);
  EXPECT_NEAR(rate.per_second(), 250, 5);
}

}  // namespace
}  // namespace llorch
