#include "engine/prefix_cache.h"

#include <algorithm>
#include <gtest/gtest.h>

#include "fakes/token_lists.h"

namespace llorch {
namespace {

using std::chrono::seconds;

constexpr std::size_t state_bytes = 1000;

KvState state(char mark, std::size_t size = state_bytes) {
  KvState made{std::make_shared<std::byte[]>(size), size};
  made.bytes[0] = static_cast<std::byte>(mark);
  return made;
}

char mark_of(const PrefixCache::Match& match) {
  return match.state.empty() ? '-' : static_cast<char>(match.state[0]);
}

constexpr SteadyTime start{};

// clause: W-51
TEST(PrefixCache, FindsTheLongestBeginningOfTheScope) {
  PrefixCache cache(1 << 20);
  const auto common = tokens_from(100, 40);
  cache.put("", joined(common, tokens_from(0, 10)), state('a'), start);
  cache.put("", joined(common, tokens_from(50, 10)), state('b'), start);
  cache.put("", tokens_from(7, 30), state('c'), start);
  cache.put("tenant", joined(common, tokens_from(50, 20)), state('d'), start);

  const auto near_b = cache.find("", joined(common, tokens_from(50, 4)));
  EXPECT_EQ(near_b.shared, 44);
  EXPECT_EQ(near_b.tokens, 50);
  EXPECT_EQ(mark_of(near_b), 'b');
  EXPECT_EQ(cache.find("", joined(common, tokens_from(999, 4))).shared, 40);
  EXPECT_EQ(mark_of(cache.find("", tokens_from(7, 31))), 'c');
  EXPECT_EQ(cache.find("", tokens_from(8, 5)).shared, 0);
  EXPECT_EQ(cache.find("", tokens_from(8, 5)).state.size(), 0U);
  EXPECT_EQ(mark_of(cache.find("tenant", common)), 'd');
  EXPECT_EQ(cache.find("another", common).shared, 0);
}

// clause: W-51
TEST(PrefixCache, TheLongestMatchIsANeighbourForEveryPrompt) {
  PrefixCache cache(1 << 20);
  std::vector<std::vector<Token>> kept;
  unsigned random = 12345;
  const auto next = [&](unsigned below) {
    random = random * 1664525U + 1013904223U;
    return (random >> 16) % below;
  };
  const auto made = [&] {
    std::vector<Token> out(1 + next(8));
    for (auto& token : out) token = static_cast<Token>(next(3));
    return out;
  };
  for (int i = 0; i < 40; ++i) {
    kept.push_back(made());
    cache.put("", kept.back(), state('x'), start);
  }
  for (int i = 0; i < 400; ++i) {
    const auto prompt = made();
    std::int64_t want = 0;
    for (const auto& one : kept) {
      want = std::max<std::int64_t>(want, std::ranges::mismatch(one, prompt).in1 - one.begin());
    }
    ASSERT_EQ(cache.find("", prompt).shared, want);
  }
}

TEST(PrefixCache, ALongerSnapshotReplacesWhatItContains) {
  PrefixCache cache(1 << 20);
  cache.put("", tokens_from(0, 10), state('a'), start);
  cache.put("", tokens_from(0, 20), state('b'), start);
  EXPECT_EQ(cache.size(), 1U);
  EXPECT_EQ(mark_of(cache.find("", tokens_from(0, 10))), 'b');
  cache.put("", tokens_from(0, 15), state('c'), start);  // says nothing new
  EXPECT_EQ(cache.size(), 1U);
  EXPECT_EQ(mark_of(cache.find("", tokens_from(0, 15))), 'b');
  EXPECT_EQ(cache.bytes(), state_bytes + 20 * sizeof(Token));
}

// clause: W-53
TEST(PrefixCache, DropsWhatIsWorthLeastUntilAllFits) {
  PrefixCache cache(3 * (state_bytes + 400));
  cache.put("", tokens_from(0, 100), state('a'), start);
  cache.put("", tokens_from(1000, 100), state('b'), start + seconds(1));
  cache.put("", tokens_from(2000, 100), state('c'), start + seconds(2));
  EXPECT_EQ(cache.use("", tokens_from(0, 50), start + seconds(60)).shared, 50);
  cache.put("", tokens_from(3000, 100), state('d'), start + seconds(61));
  EXPECT_EQ(cache.find("", tokens_from(1000, 100)).shared, 0);  // longest unused
  EXPECT_EQ(mark_of(cache.find("", tokens_from(0, 100))), 'a');
  // One that shares nearly all its tokens with another is cheap to do without, however fresh.
  cache.put("", joined(tokens_from(3000, 90), tokens_from(9000, 10)), state('e'),
            start + seconds(62));
  cache.put("", tokens_from(4000, 100), state('f'), start + seconds(63));
  EXPECT_LE(cache.bytes(), 3 * (state_bytes + 400));
  EXPECT_EQ(mark_of(cache.find("", tokens_from(0, 100))), 'a');
  EXPECT_GE(cache.find("", tokens_from(3000, 100)).shared, 90);
}

TEST(PrefixCache, WhatCannotFitIsNotKeptAndCostsNothing) {
  PrefixCache cache(500);
  cache.put("", tokens_from(0, 4), state('a', 100), start);
  cache.put("", tokens_from(9, 4), state('b', 501), start);
  EXPECT_EQ(cache.size(), 1U);
  EXPECT_EQ(mark_of(cache.find("", tokens_from(0, 4))), 'a');
  PrefixCache off(0);
  off.put("", tokens_from(0, 4), state('a', 1), start);
  EXPECT_EQ(off.size(), 0U);
}

}  // namespace
}  // namespace llorch
