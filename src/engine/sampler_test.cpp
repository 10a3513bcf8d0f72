#include "engine/sampler.h"

#include <cmath>
#include <gtest/gtest.h>
#include <map>

namespace llorch {
namespace {

constexpr std::vector<Token> nothing_forbidden;

Sampling greedy() {
  return {.chain = {.temperature = 0}};
}

Token pick(Sampler& sampler, std::vector<float> logits, std::uint64_t index = 0) {
  return sampler.pick(logits, index, nullptr).value();
}

// clause: W-27
TEST(CounterUniform, IsAFunctionOfSeedAndIndexAndFillsTheUnitInterval) {
  EXPECT_EQ(counter_uniform(7, 3), counter_uniform(7, 3));
  EXPECT_NE(counter_uniform(7, 3), counter_uniform(7, 4));
  EXPECT_NE(counter_uniform(7, 3), counter_uniform(8, 3));
  std::array<int, 10> bins{};
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    const double u = counter_uniform(42, i);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    ++bins[static_cast<std::size_t>(u * 10)];
  }
  for (const int count : bins) EXPECT_NEAR(count, 10'000, 400);
}

TEST(Sampler, TakesTheLargestLogitAtTemperatureZeroAndTheSmallerIdOnATie) {
  Sampler sampler(greedy(), nothing_forbidden);
  EXPECT_EQ(pick(sampler, {1, 5, 5, 2}), 1);
}

TEST(Sampler, FindsTheLargestLogitWhereverItStandsInALongRow) {
  Sampler sampler(greedy(), nothing_forbidden);
  for (std::size_t at = 0; at < 101; ++at) {
    std::vector<float> logits(101, -3);
    logits[at] = 2;
    if (at + 33 < logits.size()) logits[at + 33] = 2;
    EXPECT_EQ(pick(sampler, logits), static_cast<Token>(at));
  }
}

TEST(Sampler, NeverTakesAForbiddenToken) {
  Sampler sampler(greedy(), {1});
  EXPECT_EQ(pick(sampler, {1, 5, 4, 2}), 2);
}

TEST(Sampler, DrawsInProportionToTheProbabilities) {
  Sampler sampler({.chain = {}, .seed = 5}, nothing_forbidden);
  const std::vector<float> logits{std::log(0.5F), std::log(0.3F), std::log(0.2F)};
  std::map<Token, int> drawn;
  for (std::uint64_t i = 0; i < 20'000; ++i) ++drawn[pick(sampler, logits, i)];
  EXPECT_NEAR(drawn[0], 10'000, 300);
  EXPECT_NEAR(drawn[1], 6'000, 300);
  EXPECT_NEAR(drawn[2], 4'000, 300);
}

// clause: W-15
TEST(Sampler, KeepsOnlyWhatTheFieldAllows) {
  const std::vector<float> logits{std::log(0.5F), std::log(0.3F), std::log(0.15F), std::log(0.05F)};
  struct Case {
    const char* name;
    SamplingDefaults chain;
    std::size_t kept;
  };
  const Case cases[] = {{"all", {}, 4},
                        {"top_k 2", {.top_k = 2}, 2},
                        {"top_k past the end", {.top_k = 9}, 4},
                        {"top_p just the first", {.top_p = 0.4}, 1},
                        {"top_p two", {.top_p = 0.79}, 2},
                        {"min_p a third of the best", {.min_p = 0.32}, 2},
                        {"top_p zero keeps one", {.top_p = 0}, 1}};
  for (const auto& [name, chain, kept] : cases) {
    SCOPED_TRACE(name);
    Sampler sampler({.chain = chain, .seed = 1}, nothing_forbidden);
    std::map<Token, int> drawn;
    for (std::uint64_t i = 0; i < 2'000; ++i) ++drawn[pick(sampler, logits, i)];
    EXPECT_EQ(drawn.size(), kept);
  }
}

// clause: W-15
TEST(Sampler, PenalisesWhatTheLast64TokensHold) {
  Sampler sampler({.chain = {.temperature = 0, .repetition_penalty = 2}}, nothing_forbidden);
  sampler.accept(1);
  EXPECT_EQ(pick(sampler, {3, 4, 1}), 0) << "4 / 2 is less than 3";
  for (int i = 0; i < 64; ++i) sampler.accept(2);
  EXPECT_EQ(pick(sampler, {3, 4, 1}), 1) << "token 1 left the window";
}

TEST(Sampler, AppliesPresenceAndFrequencyPenaltyAndBias) {
  Sampler presence({.chain = {.temperature = 0, .presence_penalty = 1.5}}, nothing_forbidden);
  presence.accept(1);
  presence.accept(1);
  EXPECT_EQ(pick(presence, {3, 4, 1}), 0);
  Sampler frequency({.chain = {.temperature = 0, .frequency_penalty = 0.6}}, nothing_forbidden);
  frequency.accept(1);
  EXPECT_EQ(pick(frequency, {3, 4, 1}), 1);
  frequency.accept(1);
  EXPECT_EQ(pick(frequency, {3, 4, 1}), 0);
  Sampler biased({.chain = {.temperature = 0}, .seed = 0, .logit_bias = {{2, 10.0}}},
                 nothing_forbidden);
  EXPECT_EQ(pick(biased, {3, 4, 1}), 2);
}

TEST(Sampler, DrawsAgainAmongWhatAConstraintAllows) {
  Sampler sampler(greedy(), nothing_forbidden);
  const Sampler::Constraint only_even{.allows = [](Token t) { return t % 2 == 0; },
                                      .mask =
                                          [](std::vector<Candidate>& row) {
                                            for (auto& c : row) {
                                              if (c.id % 2 != 0) c.logit = -INFINITY;
                                            }
                                          }};
  const std::vector<float> logits{1, 9, 3, 8};
  EXPECT_EQ(sampler.pick(logits, 0, &only_even), 2);
  const Sampler::Constraint none{.allows = [](Token) { return false; },
                                 .mask =
                                     [](std::vector<Candidate>& row) {
                                       for (auto& c : row) c.logit = -INFINITY;
                                     }};
  EXPECT_EQ(sampler.pick(logits, 0, &none), std::nullopt);
}

TEST(LogProbabilities, AreNormalisedAndBestFirst) {
  const std::vector<float> logits{0, 2, 1};
  const auto ranked = log_probabilities(logits, 2, 3);
  ASSERT_EQ(ranked.size(), 4u);
  EXPECT_EQ(ranked[0].id, 2);
  EXPECT_EQ(ranked[1].id, 1);
  double sum = 0;
  for (std::size_t i = 1; i < 4; ++i) sum += std::exp(ranked[i].logprob);
  EXPECT_NEAR(sum, 1.0, 1e-6);
}

}  // namespace
}  // namespace llorch
