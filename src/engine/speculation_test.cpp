#include "engine/speculation.h"

#include <gtest/gtest.h>
#include <numeric>

namespace llorch {
namespace {

std::vector<Token> as_vector(std::span<const Token> tokens) {
  return {tokens.begin(), tokens.end()};
}

// A step with n guesses costs 1 + n / 10 steps.
DraftCost cheap() {
  DraftCost cost;
  for (std::int32_t drafted = 0; drafted <= limits::draft_tokens_max; ++drafted) {
    cost.observe(drafted, 10.0 + drafted);
  }
  return cost;
}

// clause: W-64
TEST(NgramIndex, FindsWhatFollowedTheLatestEarlierPlace) {
  NgramIndex index;
  std::vector<Token> tokens{1, 2, 3, 7, 7, 1, 2, 3, 8, 9, 5, 1, 2};
  EXPECT_TRUE(index.continuation(tokens, 4).empty());
  tokens.push_back(3);
  EXPECT_EQ(as_vector(index.continuation(tokens, 4)), (std::vector<Token>{8, 9, 5, 1}));
  EXPECT_EQ(as_vector(index.continuation(tokens, 2)), (std::vector<Token>{8, 9}));
  tokens.push_back(4);
  EXPECT_TRUE(index.continuation(tokens, 4).empty()) << "2 3 4 stood nowhere";
}

TEST(NgramIndex, SaysNothingOfShortOnesAndNeverReadsBeyond) {
  NgramIndex index;
  std::vector<Token> tokens;
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(index.continuation(tokens, 4).empty());
    tokens.push_back(1);
  }
  tokens.push_back(1);
  EXPECT_EQ(as_vector(index.continuation(tokens, 4)), (std::vector<Token>{1}));
}

TEST(NgramIndex, FindsTheSameAsASearchWouldWhileItGrows) {
  NgramIndex index;
  std::vector<Token> tokens{0, 0, 0};
  std::uint32_t state = 7;
  int known = 0;
  int there = 0;
  for (int i = 0; i < 5'000; ++i) {
    state = state * 1'664'525 + 1'013'904'223;
    tokens.push_back(static_cast<Token>(state >> 29));
    const auto end = static_cast<std::ptrdiff_t>(tokens.size());
    std::ptrdiff_t found = -1;
    for (auto at = end - 1; at >= 3 && found < 0; --at) {
      if (std::equal(tokens.end() - 3, tokens.end(), tokens.begin() + at - 3)) found = at;
    }
    const auto told = index.continuation(tokens, 1);
    // Another n-gram may have taken the bucket; what is told is never another's.
    ASSERT_TRUE(told.empty() || (found >= 0 && told.data() == tokens.data() + found));
    known += told.empty() ? 0 : 1;
    there += found < 0 ? 0 : 1;
  }
  EXPECT_GT(known, there * 9 / 10);
}

TEST(DraftCost, EstimatesALengthNotSeenFromTheNearestOne) {
  DraftCost cost;
  EXPECT_GT(cost.steps(5), 2);
  cost.observe(0, 10);
  cost.observe(4, 14);
  EXPECT_DOUBLE_EQ(cost.steps(0), 1);
  EXPECT_DOUBLE_EQ(cost.steps(4), 1.4);
  EXPECT_NEAR(cost.steps(8), 1.8, 1e-9);
  EXPECT_NEAR(cost.steps(2), 1.2, 1e-9);
}

// One job whose answer goes round in a circle of eight tokens; `right` says whether each is what
// the circle says. Returns how many tokens were guessed in how many steps.
std::pair<int, int> run_circle(const DraftCost& cost, auto right) {
  Speculation speculation;
  std::vector<Token> tokens(16);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<Token>(i % 8);
  int guessed = 0;
  int steps = 0;
  for (; tokens.size() < 400; ++steps) {
    const auto draft = as_vector(speculation.draft(tokens, limits::draft_tokens_max, cost));
    guessed += static_cast<int>(draft.size());
    for (std::size_t i = 0; i <= draft.size(); ++i) {
      const auto at = tokens.size();
      tokens.push_back(right(at) ? static_cast<Token>(at % 8) : static_cast<Token>(100 + at));
      speculation.judge(i, tokens.back());
      if (i == draft.size() || draft[i] != tokens.back()) break;
    }
  }
  return {guessed, steps};
}

// clause: W-64
TEST(Speculation, GuessesFarWhereItIsRightAndNothingWhereItIsWrong) {
  const auto [guessed, steps] = run_circle(cheap(), [](std::size_t) { return true; });
  EXPECT_LT(steps, 60);
  EXPECT_GT(guessed, 300);
  // Every fourth token is new, so what follows three known ones is always wrong.
  const auto [wrong, slow] = run_circle(cheap(), [](std::size_t at) { return at % 4 != 3; });
  EXPECT_LT(wrong, 40);
  EXPECT_GT(slow, 340);
}

TEST(Speculation, GuessesNothingWhereARowCostsAsMuchAsAStep) {
  DraftCost dear;
  dear.observe(0, 10);
  for (std::int32_t i = 1; i <= limits::draft_tokens_max; ++i) dear.observe(i, 10.0 + 9.5 * i);
  EXPECT_EQ(run_circle(dear, [](std::size_t) { return true; }).first, 0);
}

TEST(Speculation, KeepsToWhatIsLeftOfTheAnswer) {
  Speculation speculation;
  const std::vector<Token> tokens(64, 5);
  EXPECT_EQ(speculation.draft(tokens, 0, cheap()).size(), 0U);
  EXPECT_LE(speculation.draft(tokens, 2, cheap()).size(), 2U);
}

}  // namespace
}  // namespace llorch
