// The planner over steps as a real machine took them.
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <span>
#include <vector>

#include "engine/batch_planner.h"
#include "fakes/recorded_steps.h"

namespace llorch {
namespace {

// Times a planned step by the recorded one that is most like it, so that it keeps its bends and its
// noise: what no formula of ours has.
class RecordedMachine {
 public:
  double ms(std::int32_t decode_rows, const PrefillWork& work) {
    const auto decode = nearest(decode_rows, {}).ms;
    if (work.tokens == 0) return decode_rows == 0 ? 0 : decode;
    const auto& like = nearest(decode_rows, work);
    const auto base = decode_rows == 0 ? 0 : decode;
    const auto scale = static_cast<double>(work.tokens) / static_cast<double>(like.tokens);
    return base + std::max(1.0, like.ms - base) * scale;
  }

 private:
  const RecordedStep& nearest(std::int32_t decode_rows, const PrefillWork& work) {
    const auto kind = [](std::int64_t tokens) {
      return tokens == 0 ? 0 : tokens < tile_rows_long ? 1 : 2;
    };
    const auto cells = work.narrow_cells + work.wide_cells;
    const auto distance = [&](const RecordedStep* step) {
      const auto far = [](double a, double b) { return std::abs(std::log((a + 1) / (b + 1))); };
      const bool other =
          kind(step->tokens) != kind(work.tokens) || (step->decode_rows == 0) != (decode_rows == 0);
      return (other ? 100 : 0) + far(static_cast<double>(work.tokens), step->tokens) +
             2 * far(cells / std::max<double>(1, static_cast<double>(work.tokens)),
                     static_cast<double>(step->cells) / std::max(1, step->tokens));
    };
    // The most alike one after another: their noise belongs to the machine.
    std::vector<const RecordedStep*> order;
    for (const auto& step : recorded_steps) order.push_back(&step);
    std::ranges::partial_sort(order, order.begin() + alike, {}, distance);
    return *order[turn_++ % alike];
  }

  static constexpr std::size_t alike = 3;
  std::size_t turn_ = 0;
};

struct Ran {
  std::vector<double> steps_ms;  // with a part of the prompt in them
  double prompt_ms = 0;          // until it was computed
};

// `streams` decode and a prompt arrives. The model of costs has seen a prompt alone and streams
// alone, as it has on a worker that was used before.
Ran prompt_beside(std::int32_t streams, std::int64_t prompt, double itl_target_ms) {
  BatchPlanner planner({.batch_tokens_max = 512, .itl_target_ms = itl_target_ms});
  RecordedMachine machine;
  StepCost cost;
  std::vector<SlotView> slots;
  const auto run = [&](std::size_t steps_most, bool until_computed) {
    Ran ran;
    for (std::size_t i = 0; i < steps_most; ++i) {
      PrefillWork work;
      std::int32_t decode_rows = 0;
      for (const auto& row : planner.plan(slots, cost)) {
        auto& slot = slots[static_cast<std::size_t>(row.slot)];
        const bool reads = slot.phase == SlotPhase::prefill && row.tokens > 1;
        if (reads) work.add(row.tokens, slot.evaluated);
        if (!reads) ++decode_rows;
        if (slot.phase != SlotPhase::prefill) continue;
        slot.evaluated += row.tokens;
        slot.prefill_left -= row.tokens;
        if (slot.prefill_left == 0) slot.phase = SlotPhase::idle;
      }
      const auto ms = machine.ms(decode_rows, work);
      cost.observe(decode_rows, work, ms);
      ran.prompt_ms += ms;
      if (work.tokens > 0) ran.steps_ms.push_back(ms);
      if (until_computed && slots.back().phase == SlotPhase::idle) break;
    }
    return ran;
  };
  slots = {{.slot = 0, .phase = SlotPhase::prefill, .prefill_left = 1000}};
  run(100, true);
  slots.clear();
  for (std::int32_t i = 0; i < streams; ++i)
    slots.push_back({.slot = i, .phase = SlotPhase::decode});
  run(50, false);
  slots.push_back({.slot = streams, .phase = SlotPhase::prefill, .prefill_left = prompt});
  return run(10'000, true);
}

double quantile(std::vector<double> values, double share) {
  std::ranges::sort(values);
  return values.at(static_cast<std::size_t>(share * static_cast<double>(values.size() - 1)));
}

TEST(PlannerSim, FillsTheGapsOfStreamsWithAShortPromptAndNoMore) {
  for (const double target_ms : {150.0, 250.0, 400.0}) {
    SCOPED_TRACE(target_ms);
    const auto ran = prompt_beside(4, 600, target_ms);
    ASSERT_GT(ran.steps_ms.size(), 3U);
    EXPECT_LE(quantile(ran.steps_ms, 0.5), target_ms * 1.15);
    EXPECT_LE(quantile(ran.steps_ms, 1), target_ms * 1.6);
    EXPECT_GE(quantile(ran.steps_ms, 0.5), target_ms * 0.7) << "time left unused";
  }
}

// The streams' gaps cost the prompt little, and the prompt them no more than a step may be
// stretched.
TEST(PlannerSim, EndsALongPromptAlmostAsSoonWithShortGapsAsWithLongOnes) {
  const auto patient = prompt_beside(4, 4000, 400);
  for (const double target_ms : {80.0, 150.0}) {
    SCOPED_TRACE(target_ms);
    const auto ran = prompt_beside(4, 4000, target_ms);
    EXPECT_LE(ran.prompt_ms, patient.prompt_ms * 1.5);
    EXPECT_LE(quantile(ran.steps_ms, 0.95), step_stretch * std::max(target_ms, 150.0) * 1.1)
        << "150 ms: a tile at the end";
  }
}

}  // namespace
}  // namespace llorch
