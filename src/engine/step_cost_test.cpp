#include "engine/step_cost.h"

#include <gtest/gtest.h>
#include <random>
#include <vector>

namespace llorch {
namespace {

// A machine with prices of its own, and steps that differ by `spread` from them.
class Machine {
 public:
  Machine(double prompt_ms, double token_ms, double narrow_cell_ms, double wide_cell_ms,
          double spread = 0)
      : prompt_ms_(prompt_ms),
        token_ms_(token_ms),
        narrow_cell_ms_(narrow_cell_ms),
        wide_cell_ms_(wide_cell_ms),
        spread_(spread) {}

  double ms(const PrefillWork& work) const {
    return prompt_ms_ * work.prompts + token_ms_ * static_cast<double>(work.tokens) +
           narrow_cell_ms_ * work.narrow_cells + wide_cell_ms_ * work.wide_cells;
  }
  double timed(const PrefillWork& work) {
    return ms(work) * (1 + spread_ * (uniform_(random_) - 0.5));
  }

 private:
  double prompt_ms_, token_ms_, narrow_cell_ms_, wide_cell_ms_, spread_;
  std::mt19937_64 random_{7};
  std::uniform_real_distribution<double> uniform_;
};

TEST(PrefillWork, CountsTheCellsThatEachTokenReads) {
  PrefillWork made;
  made.add(3, 10);  // 11 + 12 + 13
  made.add(2, 0);   // 1 + 2
  made.add(0, 99);
  EXPECT_EQ(made.prompts, 2);
  EXPECT_EQ(made.tokens, 5);
  EXPECT_DOUBLE_EQ(made.narrow_cells, 39);
  EXPECT_DOUBLE_EQ(made.wide_cells, 0);
  made.add(100, 1000);
  EXPECT_DOUBLE_EQ(made.narrow_cells, 39);
  EXPECT_DOUBLE_EQ(made.wide_cells, 105'050);
}

TEST(PrefillCost, TakesTheFirstStepAsAPriceOfItsTokens) {
  PrefillCost cost;
  EXPECT_FALSE(cost.known());
  EXPECT_EQ(cost.ms_per_token(), 0);
  cost.observe(PrefillWork::of(100), 300);
  EXPECT_TRUE(cost.known());
  EXPECT_DOUBLE_EQ(cost.ms(PrefillWork::of(100)), 300);
  EXPECT_EQ(cost.tokens_in(300, 0), 100);
  EXPECT_EQ(cost.tokens_in(0, 0), 0);
}

// Symptom: after a prompt in full batches the first small chunks beside a stream took twice the
// time that was left to them, because each pays for a pass over the weights.
TEST(PrefillCost, TellsLongChunksFromShortOnesAndFullContextsFromEmptyOnes) {
  Machine machine(20, 2, 0.007, 0.001, 0.1);
  PrefillCost cost;
  for (std::int64_t done = 0; done < 4096; done += 512) {
    cost.observe(PrefillWork::of(512, done), machine.timed(PrefillWork::of(512, done)));
  }
  for (std::int64_t done = 0; done < 1200; done += 40) {
    cost.observe(PrefillWork::of(40, done), machine.timed(PrefillWork::of(40, done)));
  }
  for (const auto& step : {PrefillWork::of(40, 100), PrefillWork::of(40, 4000),
                           PrefillWork::of(512, 0), PrefillWork::of(512, 3500)}) {
    EXPECT_NEAR(cost.ms(step) / machine.ms(step), 1, 0.2) << step.tokens << " tokens";
  }
  for (const double ms : {150.0, 600.0}) {
    const auto most = cost.tokens_in(ms, 2000);
    EXPECT_GT(most, wide_from_tokens(2000));
    EXPECT_NEAR(machine.ms(PrefillWork::of(most, 2000)) / ms, 1, 0.15);
  }
}

TEST(PrefillCost, FollowsAMachineThatSlowsDown) {
  PrefillCost cost;
  for (int i = 0; i < 100; ++i)
    cost.observe(PrefillWork::of(64, 64 * i),
                 Machine(5, 2, 0.001, 0.001).ms(PrefillWork::of(64, 64 * i)));
  const Machine slow(10, 6, 0.003, 0.003);
  for (int i = 0; i < 15; ++i)
    cost.observe(PrefillWork::of(64, 64 * i), slow.ms(PrefillWork::of(64, 64 * i)));
  EXPECT_NEAR(cost.ms(PrefillWork::of(64, 1000)) / slow.ms(PrefillWork::of(64, 1000)), 1, 0.2);
}

TEST(PrefillCost, IsNotThrownOffByOneStepThatTheMachineInterrupted) {
  Machine machine(5, 2, 0.001, 0.001, 0.1);
  PrefillCost cost;
  for (int i = 0; i < 50; ++i)
    cost.observe(PrefillWork::of(64, 64 * i), machine.timed(PrefillWork::of(64, 64 * i)));
  cost.observe(PrefillWork::of(64, 1000), 40 * machine.ms(PrefillWork::of(64, 1000)));
  EXPECT_NEAR(cost.ms(PrefillWork::of(64, 1000)) / machine.ms(PrefillWork::of(64, 1000)), 1, 0.6);
}

TEST(StepCost, StandsInTheNearestCountOfRowsForOneItHasNotSeen) {
  StepCost cost;
  EXPECT_EQ(cost.decode_ms(4), 0);
  cost.observe(2, {}, 20);
  cost.observe(8, {}, 50);
  EXPECT_EQ(cost.decode_ms(3), 20);
  EXPECT_EQ(cost.decode_ms(7), 50);
  EXPECT_EQ(cost.decode_ms(0), 0);
}

TEST(StepCost, CountsForThePromptOnlyWhatDecodingWouldNotHaveTaken) {
  StepCost cost;
  cost.observe(4, {}, 30);
  cost.observe(4, PrefillWork::of(40), 150);
  EXPECT_DOUBLE_EQ(cost.prefill().ms(PrefillWork::of(40)), 120);
}

}  // namespace
}  // namespace llorch
