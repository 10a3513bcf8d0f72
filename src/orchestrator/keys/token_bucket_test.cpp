#include "orchestrator/keys/token_bucket.h"

#include <gtest/gtest.h>

namespace llorch {
namespace {

// clause: O-25
TEST(TokenBucket, HoldsAMinutesWorthAndFillsEvenly) {
  TokenBucket bucket(600, 0);  // 10 a second
  EXPECT_EQ(bucket.wait_ms(0), 0);
  bucket.take(600, 0);
  EXPECT_EQ(bucket.wait_ms(0), 100);
  EXPECT_EQ(bucket.wait_ms(60), 40);
  EXPECT_EQ(bucket.wait_ms(100), 0);
  EXPECT_EQ(bucket.wait_ms(86'400'000), 0);
  bucket.take(600, 86'400'000);  // a day fills it no further than a minute
  EXPECT_EQ(bucket.wait_ms(86'400'000), 100);
}

// clause: O-25
TEST(TokenBucket, WhatWasUsedBeyondItIsADebt) {
  TokenBucket bucket(60, 1'000);
  bucket.take(100, 1'000);
  EXPECT_EQ(bucket.wait_ms(1'000), 41'000);
  EXPECT_EQ(bucket.wait_ms(41'000), 1'000);
  EXPECT_EQ(bucket.wait_ms(42'000), 0);
}

// clause: O-25
TEST(TokenBucket, WhatWasNotUsedIsGivenBackButNeverMore) {
  TokenBucket bucket(60, 0);
  bucket.take(60, 0);
  bucket.take(-1, 0);
  EXPECT_EQ(bucket.wait_ms(0), 0);
  bucket.take(-1'000, 0);
  bucket.take(60, 0);
  EXPECT_EQ(bucket.wait_ms(0), 1'000);
}

TEST(TokenBucket, AClockThatStandsStillOrGoesBackGivesNothing) {
  TokenBucket bucket(60, 10'000);
  bucket.take(60, 10'000);
  EXPECT_EQ(bucket.wait_ms(5'000), 1'000);
  bucket.take(0, 5'000);
  EXPECT_EQ(bucket.wait_ms(10'000), 1'000);
}

// A long stream at the largest rate: no figure overflows.
TEST(TokenBucket, LargeFiguresStayExactEnough) {
  TokenBucket bucket(1'000'000'000, 0);
  bucket.take(1'000'000'000, 0);
  EXPECT_EQ(bucket.wait_ms(0), 1);
  bucket.take(std::int64_t{1} << 53, 0);
  EXPECT_GT(bucket.wait_ms(0), 0);
}

}  // namespace
}  // namespace llorch
