#include "orchestrator/core/prefix_index.h"

#include <algorithm>
#include <array>
#include <gtest/gtest.h>
#include <vector>

namespace llorch {
namespace {

constexpr std::array<PrefixHash, 3> chain = {11, 12, 13};
constexpr std::array<PrefixHash, 3> forked = {11, 22, 23};

TEST(PrefixIndex, CountsLeadingBlocksAWorkerHas) {
  PrefixIndex index(100);
  index.placed("a", chain);
  EXPECT_EQ(index.blocks("a", chain), 3U);
  EXPECT_EQ(index.blocks("a", forked), 1U);
  EXPECT_EQ(index.blocks("b", chain), 0U);
}

TEST(PrefixIndex, TakesBackWhatAWorkerHasDropped) {
  PrefixIndex index(100);
  index.placed("a", chain);
  const std::array<PrefixHash, 1> dropped = {13};
  index.removed("a", dropped);
  EXPECT_EQ(index.blocks("a", chain), 2U);
}

TEST(PrefixIndex, ForgetsAWorkerThatRestarts) {
  PrefixIndex index(100);
  index.placed("a", chain);
  index.forget("a");
  EXPECT_EQ(index.blocks("a", chain), 0U);
  index.placed("a", forked);
  EXPECT_EQ(index.blocks("a", forked), 3U);
}

TEST(PrefixIndex, KeepsBeginningsWhenItIsFull) {
  PrefixIndex index(4);
  index.placed("a", chain);
  index.placed("b", chain);
  EXPECT_EQ(index.size(), 4U);
  EXPECT_EQ(index.blocks("b", chain), 3U);
  EXPECT_EQ(index.blocks("a", chain), 1U);
}

std::vector<PrefixHash> family(PrefixHash number) {
  std::vector<PrefixHash> blocks;
  for (PrefixHash block = 0; block < 10; ++block) blocks.push_back(number * 100 + block);
  return blocks;
}

// A worker that holds three families of ten blocks, least recently used first.
class ThreeFamilies {
 public:
  std::size_t use(PrefixHash number) {
    const auto at = std::find(held_.begin(), held_.end(), number);
    const bool hit = at != held_.end();
    if (hit) held_.erase(at);
    held_.push_back(number);
    if (held_.size() > 3) held_.erase(held_.begin());
    return hit ? 10 : 0;
  }

 private:
  std::vector<PrefixHash> held_;
};

// clause: O-61
TEST(PrefixIndex, LearnsHowMuchAWorkerHolds) {
  PrefixIndex index(1'000);
  ThreeFamilies worker;
  int wrong = 0;
  for (int turn = 0; turn < 200; ++turn) {
    const auto number = static_cast<PrefixHash>((turn * 7 + turn / 3) % 5);
    const auto expected = index.expect("a", family(number));
    index.placed("a", family(number));
    const auto there = worker.use(number);
    if (turn >= 100) wrong += expected.blocks != there;
    index.found("a", expected, there);
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(index.displaced("a", 10), 10U);
  EXPECT_EQ(index.displaced("b", 10), 0U);
  EXPECT_GT(index.reuse(), 0.2);
}

TEST(PrefixIndex, LearnsThatAWorkerHoldsMoreThanItThought) {
  PrefixIndex index(1'000);
  for (PrefixHash number = 0; number < 4; ++number) index.placed("a", family(number));
  index.found("a", {.blocks = 10, .chain = 10, .newer = 10}, 0);
  EXPECT_EQ(index.size(), 10U);
  index.found("a", {.blocks = 0, .chain = 10, .newer = 0}, 10);
  index.placed("a", family(1));
  EXPECT_EQ(index.size(), 20U);
}

// Two jobs with one beginning at once: the second finds nothing yet, and that says nothing.
TEST(PrefixIndex, LearnsNothingFromABeginningThatIsStillBeingComputed) {
  PrefixIndex index(1'000);
  index.placed("a", family(1));
  index.placed("a", family(2));
  const auto expected = index.expect("a", family(2));
  index.placed("a", family(2));
  index.found("a", expected, 0);
  EXPECT_EQ(index.blocks("a", family(1)), 10U);
}

}  // namespace
}  // namespace llorch
