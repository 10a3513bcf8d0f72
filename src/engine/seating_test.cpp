#include "engine/seating.h"

#include <gtest/gtest.h>

#include "fakes/token_lists.h"

namespace llorch {
namespace {

std::shared_ptr<Run> run_of(std::vector<Token> its_tokens, bool deterministic = false) {
  JobRequest request;
  request.deterministic = deterministic;
  auto run = std::make_shared<Run>(std::move(request), std::make_shared<Outbox>());
  run->tokens = std::move(its_tokens);
  return run;
}

// A job in its slot that has computed `evaluated` of its tokens.
Slot busy(std::vector<Token> its_tokens, std::int64_t evaluated,
          SlotPhase phase = SlotPhase::prefill) {
  auto run = run_of(std::move(its_tokens));
  run->evaluated = evaluated;
  run->phase = phase;
  return {.run = std::move(run), .resident = {}, .scope = ""};
}

Slot left(std::vector<Token> its_tokens, std::string scope = "") {
  return {.run = nullptr, .resident = std::move(its_tokens), .scope = std::move(scope)};
}

const CopyCost unknown_cost;

// clause: W-51
TEST(ChooseSeat, PrefersTheLongestPrefixOfTheSameScope) {
  const std::vector<Slot> slots{busy(tokens_from(500, 9), 9), left(tokens_from(0, 30)),
                                left(tokens_from(0, 50)),
                                left(tokens_from(0, 60), "another tenant")};
  const auto seat =
      choose_seat(slots, *run_of(tokens_from(0, 70)), {.copies = false}, unknown_cost);
  EXPECT_EQ(seat.slot, 2);
  EXPECT_EQ(seat.cached_tokens, 50);
  EXPECT_EQ(seat.source, CellSource::resident);
  const auto alone = choose_seat(slots, *run_of(tokens_from(0, 70), true), {}, unknown_cost);
  EXPECT_EQ(alone.source, CellSource::none) << "deterministic";
  EXPECT_EQ(alone.slot, 1) << "the lowest idle slot";
  const auto shorter = joined(tokens_from(0, cached_tokens_least - 1), tokens_from(900, 50));
  EXPECT_EQ(choose_seat(slots, *run_of(shorter), {}, unknown_cost).slot, 1) << "too short a hit";
}

TEST(ChooseSeat, LeavesOneTokenToEvaluate) {
  const std::vector<Slot> slots{left(tokens_from(0, 40))};
  EXPECT_EQ(choose_seat(slots, *run_of(tokens_from(0, 30)), {}, unknown_cost).cached_tokens, 29);
  const SeatView snapshot{.snapshot_shared = 80, .snapshot_tokens = 90};
  const auto seat = choose_seat(slots, *run_of(tokens_from(0, 80)), snapshot, unknown_cost);
  EXPECT_EQ(seat.source, CellSource::snapshot);
  EXPECT_EQ(seat.cached_tokens, 79);
}

// clause: W-51
TEST(ChooseSeat, TakesWhatAJobBesideItHasComputed) {
  const std::vector<Slot> slots{busy(tokens_from(0, 100), 64), left(tokens_from(0, 32)), left({})};
  const auto seat = choose_seat(slots, *run_of(tokens_from(0, 90)), {}, unknown_cost);
  EXPECT_EQ(seat.source, CellSource::busy);
  EXPECT_EQ(seat.from_slot, 0);
  EXPECT_EQ(seat.slot, 1);
  EXPECT_EQ(seat.cached_tokens, 64);
  const auto fixed =
      choose_seat(slots, *run_of(tokens_from(0, 90)), {.copies = false}, unknown_cost);
  EXPECT_EQ(fixed.source, CellSource::resident)
      << "cells that cannot be copied stay where they are";
}

TEST(ChooseSeat, ASnapshotMustBeWorthItsCopy) {
  const std::vector<Slot> slots{left({})};
  const SeatView view{.snapshot_shared = 20, .snapshot_tokens = 4000, .prefill_ms_per_token = 0.01};
  CopyCost slow;
  slow.observe(1000, 5);  // 40 ms for 4000 tokens, which would save 0.2 ms
  EXPECT_EQ(choose_seat(slots, *run_of(tokens_from(0, 50)), view, slow).source, CellSource::none);
  CopyCost quick;
  quick.observe(1000, 0.01);
  EXPECT_EQ(choose_seat(slots, *run_of(tokens_from(0, 50)), view, quick).source,
            CellSource::snapshot);
}

TEST(ChooseSeat, AHitFarFromTheBusySlotsMovesBesideThem) {
  std::vector<Slot> slots{busy(tokens_from(500, 9), 9), left({}), left({}),
                          left(tokens_from(0, 50))};
  const auto run = run_of(tokens_from(0, 60));
  const auto moved = choose_seat(slots, *run, {}, unknown_cost);
  EXPECT_EQ(moved.slot, 1);
  EXPECT_EQ(moved.from_slot, 3);
  EXPECT_EQ(moved.cached_tokens, 50);
  EXPECT_EQ(choose_seat(slots, *run, {.copies = false}, unknown_cost).slot, 3);
  slots[0] = left({});  // nobody else: it stays
  EXPECT_EQ(choose_seat(slots, *run, {}, unknown_cost).slot, 3);
}

TEST(ChooseMove, ClosesAGapWithTheHighestDecodingJob) {
  const auto decoding = [](int count) {
    return busy(tokens_from(0, count), count, SlotPhase::decode);
  };
  std::vector<Slot> slots{left({}),     decoding(40), left(tokens_from(0, 30)),
                          decoding(40), left({}),     decoding(40)};
  const auto move = choose_move(slots, unknown_cost, 30);
  ASSERT_TRUE(move);
  EXPECT_EQ(move->from, 5);
  EXPECT_EQ(move->to, 2);
  slots[2] = std::exchange(slots[5], {});
  EXPECT_FALSE(choose_move(slots, unknown_cost, 30)) << "they stand together now";
  slots[5] = decoding(40);
  slots[5].run->phase = SlotPhase::prefill;
  EXPECT_FALSE(choose_move(slots, unknown_cost, 30)) << "its cells grow by hundreds a step";
}

TEST(ChooseMove, LooksForNoGapPastTheLastSlot) {
  std::vector<Slot> slots;
  slots.reserve(3);
  slots.push_back(left({}));
  for (int i = 0; i < 2; ++i) slots.push_back(busy(tokens_from(0, 40), 40, SlotPhase::decode));
  EXPECT_FALSE(choose_move(slots, unknown_cost, 30));
}

TEST(ChooseMove, NeverForMoreThanItSaves) {
  std::vector<Slot> slots{busy(tokens_from(0, 9), 9, SlotPhase::decode), left({}),
                          busy(tokens_from(0, 4000), 4000, SlotPhase::decode)};
  CopyCost slow;
  slow.observe(1000, 50);
  EXPECT_FALSE(choose_move(slots, slow, 30));
  CopyCost quick;
  quick.observe(1000, 1);
  EXPECT_TRUE(choose_move(slots, quick, 30));
  slots[2].run = run_of(tokens_from(0, 4000), true);
  slots[2].run->phase = SlotPhase::decode;
  EXPECT_FALSE(choose_move(slots, quick, 30)) << "deterministic: computed alone anyway";
}

// clause: W-52
TEST(ChooseLeader, WaitsForAPrefillThatSavesEnough) {
  const auto prompt = joined(tokens_from(0, 200), tokens_from(9000, 50));
  std::vector<Slot> slots{busy(joined(tokens_from(0, 200), tokens_from(4000, 80)), 32), left({})};
  const auto run = run_of(prompt);
  const auto leader = choose_leader(slots, *run, 0);
  EXPECT_EQ(leader.run, slots[0].run);
  EXPECT_EQ(leader.fork, 200);
  EXPECT_EQ(choose_leader(slots, *run, 180).run, nullptr) << "nearly all is there already";
  EXPECT_EQ(choose_leader(slots, *run_of(prompt, true), 0).run, nullptr) << "deterministic";
  slots[0].run->evaluated = 200;
  EXPECT_EQ(choose_leader(slots, *run, 0).run, nullptr) << "it is there: to be copied now";
  slots[0].run->evaluated = 32;
  slots[0].scope = "another tenant";
  EXPECT_EQ(choose_leader(slots, *run, 0).run, nullptr);
  slots[0].scope = "";
  slots[0].run->phase = SlotPhase::parked;
  EXPECT_EQ(choose_leader(slots, *run, 0).run, nullptr) << "a parked job may stay so for minutes";
}

}  // namespace
}  // namespace llorch
