#include "orchestrator/core/forecast.h"

#include <gtest/gtest.h>

namespace llorch {
namespace {

TEST(Forecast, GivesEachJobTheSlotThatComesFreeFirst) {
  Forecast two({{.free_in_ms = 500, .ms_per_prompt_token = 1, .ms_per_token = 10},
                {.free_in_ms = 200, .ms_per_prompt_token = 1, .ms_per_token = 10}});
  EXPECT_EQ(two.next_start_ms(), 200);
  EXPECT_EQ(two.start(100, 50), 200);  // until 800
  EXPECT_EQ(two.start(0, 10), 500);    // until 600
  EXPECT_EQ(two.start(0, 1), 600);
  EXPECT_EQ(two.next_start_ms(), 610);
}

TEST(Forecast, KnowsTheSpeedOfEachSlot) {
  Forecast fast({{.free_in_ms = 0, .ms_per_prompt_token = 2, .ms_per_token = 5}});
  EXPECT_EQ(fast.length_ms(100, 10), 250);
  fast.start(100, 10);
  EXPECT_EQ(fast.next_start_ms(), 250);
}

}  // namespace
}  // namespace llorch
