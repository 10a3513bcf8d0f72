#include "engine/batch_planner.h"

#include <gtest/gtest.h>
#include <map>
#include <numeric>

namespace llorch {
namespace {

SlotView decoding(std::int32_t slot) {
  return {.slot = slot, .phase = SlotPhase::decode};
}
SlotView prefilling(std::int32_t slot, std::int64_t left, double waited_ms = 0) {
  return {.slot = slot, .phase = SlotPhase::prefill, .prefill_left = left, .waited_ms = waited_ms};
}
SlotView alone(SlotView view) {
  view.deterministic = true;
  return view;
}

std::int32_t tokens_of(const std::vector<PlannedRow>& rows) {
  return std::accumulate(rows.begin(), rows.end(), 0,
                         [](std::int32_t sum, const auto& row) { return sum + row.tokens; });
}

// Costs as measured on two cores: 30 ms for four streams, 3 ms a prompt token.
StepCost measured() {
  StepCost cost;
  for (int i = 0; i < 50; ++i) {
    cost.observe(4, {}, 30);
    cost.observe(4, PrefillWork::of(40), 150);
  }
  return cost;
}

TEST(BatchPlanner, GivesAPromptThatIsAloneFullBatches) {
  BatchPlanner planner({.batch_tokens_max = 512, .itl_target_ms = 150});
  const std::vector<SlotView> slots{prefilling(0, 2000)};
  EXPECT_EQ(planner.plan(slots, measured()), (std::vector<PlannedRow>{{0, 512}}));
}

// Symptom: a cancel on a slow machine took effect after one step of half a minute.
TEST(BatchPlanner, BoundsTheStepOfAPromptThatIsAloneOnASlowMachine) {
  BatchPlanner planner({.batch_tokens_max = 512, .itl_target_ms = 150});
  const std::vector<SlotView> slots{prefilling(0, 2000)};
  EXPECT_EQ(planner.plan(slots, {}), (std::vector<PlannedRow>{{0, solo_tokens_first}}));
  StepCost slow;
  slow.observe(0, PrefillWork::of(128), 6'400);
  EXPECT_EQ(planner.plan(slots, slow), (std::vector<PlannedRow>{{0, 100}}));
}

// Symptom: a full batch of prefill went between two tokens of a deterministic job.
TEST(BatchPlanner, KeepsTheTargetOfADeterministicSlotThatDecodes) {
  BatchPlanner planner({.batch_tokens_max = 512, .itl_target_ms = 150});
  const std::vector<SlotView> slots{prefilling(0, 2000), alone(decoding(1))};
  for (int i = 0; i < 4; ++i) {
    const auto rows = planner.plan(slots, measured());
    ASSERT_EQ(rows.size(), 1u);
    EXPECT_LE(rows[0].tokens, 60);
  }
}

TEST(BatchPlanner, NeverLeavesOutADecodingSlotAndOrdersRowsBySlot) {
  BatchPlanner planner({.batch_tokens_max = 512, .itl_target_ms = 150});
  const std::vector<SlotView> slots{prefilling(0, 4000),
                                    decoding(1),
                                    decoding(2),
                                    {.slot = 3, .phase = SlotPhase::parked},
                                    decoding(4)};
  const auto rows = planner.plan(slots, measured());
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0].slot, 0);
  for (std::size_t i = 1; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].tokens, 1);
    EXPECT_LT(rows[i - 1].slot, rows[i].slot);
  }
}

TEST(BatchPlanner, FillsTheTimeLeftToTheTargetWithPrefill) {
  BatchPlanner planner({.batch_tokens_max = 512, .itl_target_ms = 150});
  const std::vector<SlotView> slots{decoding(0), decoding(1), decoding(2), decoding(3),
                                    prefilling(4, 4000)};
  const auto rows = planner.plan(slots, measured());
  EXPECT_NEAR(rows.back().tokens, 40, 2) << "(150 - 30) ms at 3 ms a token";
}

constexpr std::int64_t full = 3000;  // tokens before those that are computed
constexpr auto tile = wide_from_tokens(full);

// Symptom: a prompt of 4 000 tokens beside four streams took 80 s: eight tokens of a full context
// took 200 ms, and so would have a tile.
StepCost full_context_cost(double tile_ms) {
  StepCost learnt;
  for (int i = 0; i < 50; ++i) {
    learnt.observe(1, {}, 20);
    learnt.observe(1, PrefillWork::of(8, full), 20 + 180);
    learnt.observe(1, PrefillWork::of(tile, full), 20 + tile_ms);
  }
  return learnt;
}

SlotView in_full_context(std::int64_t left) {
  auto prompt = prefilling(1, left);
  prompt.evaluated = full;
  return prompt;
}

TEST(BatchPlanner, ComputesAFullContextByTheTileWhereThatPays) {
  BatchPlanner planner({.batch_tokens_max = 512, .itl_target_ms = 150});
  const auto cost = full_context_cost;
  const std::vector<SlotView> slots{decoding(0), in_full_context(10 * good_chunk_tokens + 1)};
  EXPECT_EQ(planner.plan(slots, cost(140)).back().tokens, good_chunk_tokens);
  EXPECT_EQ(planner.plan(slots, cost(220)).back().tokens, tile);
  EXPECT_EQ(planner.plan(slots, cost(600)).back().tokens, prefill_tokens_min) << "too long a gap";
  BatchPlanner patient({.batch_tokens_max = 512, .itl_target_ms = 1500});
  EXPECT_GT(patient.plan(slots, cost(140)).back().tokens, good_chunk_tokens);
}

// Symptom: the last 57 tokens of 4 000, too few for a tile, took 730 ms beside four streams.
TEST(BatchPlanner, LeavesNoLongRestThatIsTooShortForATile) {
  BatchPlanner planner({.batch_tokens_max = 512, .itl_target_ms = 150});
  for (const double tile_ms : {140.0, 220.0}) {
    const auto cost = full_context_cost(tile_ms);
    for (std::int64_t left = 2; left <= 10 * tile; ++left) {
      SCOPED_TRACE(left);
      const std::vector<SlotView> slots{decoding(0), in_full_context(left)};
      const auto tokens = planner.plan(slots, cost).back().tokens;
      EXPECT_TRUE(tokens >= tile || tokens <= prefill_tokens_min) << tokens;
      EXPECT_EQ(tokens >= tile, left > tile);
    }
  }
  const std::vector<SlotView> slots{decoding(0), in_full_context(2 * tile)};
  EXPECT_EQ(planner.plan(slots, full_context_cost(140)).back().tokens, 2 * tile - 1);
}

TEST(BatchPlanner, AlwaysMovesAPromptForward) {
  BatchPlanner planner({.batch_tokens_max = 512, .itl_target_ms = 1});
  const std::vector<SlotView> slots{decoding(0), prefilling(1, 4000)};
  EXPECT_EQ(planner.plan(slots, measured()).back().tokens, prefill_tokens_min);
}

TEST(BatchPlanner, ReadsTheShortestPromptFirstUnlessAnotherHasWaitedLong) {
  BatchPlanner planner({.batch_tokens_max = 64, .itl_target_ms = 150});
  const std::vector<SlotView> fresh{prefilling(0, 4000), prefilling(1, 100)};
  EXPECT_EQ(planner.plan(fresh, {}).front().slot, 1);
  const std::vector<SlotView> aged{prefilling(0, 4000, 60'000), prefilling(1, 100)};
  EXPECT_EQ(planner.plan(aged, {}).front().slot, 0);
}

TEST(BatchPlanner, SharesABatchAmongShortPrompts) {
  BatchPlanner planner({.batch_tokens_max = 512, .itl_target_ms = 150});
  const std::vector<SlotView> slots{prefilling(0, 100), prefilling(1, 200), prefilling(2, 400)};
  EXPECT_EQ(planner.plan(slots, measured()),
            (std::vector<PlannedRow>{{0, 99}, {1, 199}, {2, 214}}));
}

// Symptom: a prompt of 4 000 tokens had another answer once it was cached.
// clause: W-51
TEST(BatchPlanner, LeavesTheLastTokenOfALongPromptForAStepOfItsOwn) {
  BatchPlanner planner({.batch_tokens_max = 512, .itl_target_ms = 150});
  const auto take = [&](std::int64_t left) {
    return planner.plan(std::vector{prefilling(0, left)}, measured()).front().tokens;
  };
  EXPECT_EQ(take(1000), 512);
  EXPECT_EQ(take(512), 511);
  EXPECT_EQ(take(64), 63);
  EXPECT_EQ(take(63), 63);
  EXPECT_EQ(take(1), 1);
}

// clause: W-51
TEST(BatchPlanner, LeavesItSoWhereAFewRowsAreATile) {
  BatchPlanner planner({.batch_tokens_max = 512, .itl_target_ms = 150});
  const auto take = [&](std::int64_t evaluated, std::int64_t left) {
    auto prompt = prefilling(0, left);
    prompt.evaluated = evaluated;
    return planner.plan(std::vector{prompt}, measured()).front().tokens;
  };
  EXPECT_EQ(take(239, 17), 17);
  EXPECT_EQ(take(240, 17), 16);
  EXPECT_EQ(take(3000, 17), 16);
  EXPECT_EQ(take(3000, 16), 16);
  // A short prompt shares its batch, and so its tiles, with the next one.
  const auto rows = planner.plan(std::vector{in_full_context(500), prefilling(2, 30)}, measured());
  EXPECT_EQ(rows.back(), (PlannedRow{2, 29}));
}

TEST(BatchPlanner, RunsADeterministicSlotAloneInFixedChunks) {
  BatchPlanner planner({.batch_tokens_max = 512, .itl_target_ms = 150});
  const std::vector<SlotView> slots{alone(prefilling(0, 100))};
  EXPECT_EQ(planner.plan(slots, {}), (std::vector<PlannedRow>{{0, 32}}));
  const std::vector<SlotView> tail{alone(prefilling(0, 4))};
  EXPECT_EQ(planner.plan(tail, {}), (std::vector<PlannedRow>{{0, 4}}));
}

TEST(BatchPlanner, StarvesNeitherDeterministicNorSharedSlots) {
  BatchPlanner planner({.batch_tokens_max = 512, .itl_target_ms = 150});
  const std::vector<SlotView> slots{alone(decoding(0)), decoding(1), alone(decoding(2)),
                                    decoding(3)};
  std::map<std::int32_t, int> turns;
  for (int i = 0; i < 300; ++i) {
    const auto rows = planner.plan(slots, {});
    ASSERT_FALSE(rows.empty());
    const bool solo = rows.size() == 1;
    for (const auto& row : rows) {
      EXPECT_EQ(solo, row.slot == 0 || row.slot == 2);
      ++turns[row.slot];
    }
  }
  for (const auto& [slot, count] : turns) EXPECT_EQ(count, 100) << "slot " << slot;
}

TEST(BatchPlanner, PlansNothingWhenEverySlotIsParked) {
  BatchPlanner planner({});
  const std::vector<SlotView> slots{{.slot = 0, .phase = SlotPhase::parked}};
  EXPECT_TRUE(planner.plan(slots, {}).empty());
}

// Eight prompts and eight streams with costs that drift: every step stays near the target once the
// cost is known, and every prompt is read to its end.
TEST(BatchPlanner, KeepsTheTargetWhileCostsDrift) {
  BatchPlanner planner({.batch_tokens_max = 512, .itl_target_ms = 150});
  StepCost cost;
  std::vector<SlotView> slots;
  for (std::int32_t i = 0; i < 8; ++i) slots.push_back(decoding(i));
  for (std::int32_t i = 8; i < 16; ++i) slots.push_back(prefilling(i, 500 * (i - 7)));
  int over_target = 0;
  int steps = 0;
  for (; steps < 10'000; ++steps) {
    const auto rows = planner.plan(slots, cost);
    const auto prefill = tokens_of(rows) - 8;
    if (prefill == 0) break;
    const double per_token = 2.0 + steps * 0.002;  // attention grows with the context
    const double ms = 35 + prefill * per_token;
    if (steps > 20 && ms > 150 * 1.2) ++over_target;
    cost.observe(8, PrefillWork::of(prefill), ms);
    for (const auto& row : rows) {
      auto& slot = slots[static_cast<std::size_t>(row.slot)];
      if (slot.phase == SlotPhase::prefill && (slot.prefill_left -= row.tokens) == 0) {
        slot.phase = SlotPhase::parked;
      }
    }
  }
  EXPECT_LT(steps, 10'000);
  EXPECT_EQ(over_target, 0);
}

}  // namespace
}  // namespace llorch
