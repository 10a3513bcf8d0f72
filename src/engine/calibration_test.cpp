#include "engine/calibration.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace llorch {
namespace {

CalibrationRow row(std::int32_t threads, double decode_ms, double prefill_ms_per_token,
                   bool flash = true) {
  return {.choice = {.threads = threads, .flash_attention = flash},
          .decode_ms = decode_ms,
          .prefill_ms_per_token = prefill_ms_per_token};
}

// clause: W-66
TEST(CalibrationCandidates, BeginWithTheUsualAndVaryWhatNobodyFixed) {
  const auto free = calibration_candidates({}, 16, 8);
  EXPECT_EQ(free.front(), (CalibrationChoice{.threads = 16}));
  const auto has = [](const auto& rows, auto test) { return std::ranges::any_of(rows, test); };
  EXPECT_TRUE(has(free, [](auto& c) { return c.threads == 8; }));
  EXPECT_TRUE(has(free, [](auto& c) { return !c.flash_attention; }));
  EXPECT_TRUE(has(free, [](auto& c) { return c.batch_tokens == 1024; }));
  const auto fixed = calibration_candidates({.threads = 3, .flash_attention = false}, 16, 8);
  EXPECT_FALSE(has(fixed, [](auto& c) { return c.threads != 3 || c.flash_attention; }));
  // One core: nothing is tried twice.
  const auto small = calibration_candidates({}, 1, 1);
  EXPECT_EQ(std::ranges::count_if(small, [](auto& c) { return c == CalibrationChoice{}; }), 1);
}

// clause: W-66
TEST(BestRow, TakesFewerThreadsForALittleAndOtherNumbersOnlyForMuch) {
  EXPECT_EQ(best_row(std::vector{row(16, 20, 1), row(8, 18.5, 0.95)}), 0U) << "within the noise";
  EXPECT_EQ(best_row(std::vector{row(16, 20, 1), row(8, 15, 0.8)}), 1U);
  EXPECT_EQ(best_row(std::vector{row(16, 20, 1), row(16, 17.5, 0.9, false)}), 0U);
  EXPECT_EQ(best_row(std::vector{row(16, 20, 1), row(16, 12, 0.6, false)}), 1U);
  EXPECT_EQ(best_row(std::vector{row(16, 20, 1), row(8, 15, 0.8), row(4, 14, 0.8)}), 2U);
}

TEST(BestRow, NeverTakesWhatWasNotMeasured) {
  EXPECT_EQ(best_row(std::vector{row(16, 20, 1), row(8, 0, 0)}), 0U);
  EXPECT_EQ(best_row(std::vector{row(16, 0, 0), row(8, 1, 1)}), 0U) << "nothing to compare with";
}

}  // namespace
}  // namespace llorch
