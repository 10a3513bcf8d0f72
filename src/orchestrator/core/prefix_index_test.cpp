#include "orchestrator/core/prefix_index.h"

#include <array>
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace llorch
