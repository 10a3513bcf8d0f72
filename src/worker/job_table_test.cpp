#include "worker/job_table.h"

#include <gtest/gtest.h>
#include <vector>

#include "fakes/fake_clock.h"
#include "worker/finish_rate.h"

namespace llorch {
namespace {

using std::chrono::milliseconds;

struct Table {
  FakeClock clock;
  std::vector<std::string> cancelled;
  JobTable jobs{clock, [this](const LiveRun& run) { cancelled.push_back(run.id.value); }};

  explicit Table(std::size_t capacity) { jobs.set_capacity(capacity); }
  Result<JobTable::Seat> admit(const char* id, std::uint32_t attempt = 0) {
    return jobs.admit(JobId{id}, attempt, "c1");
  }
};

// clause: W-17
TEST(JobTable, RefusesTheJobBeyondItsCapacityAndTakesItOnceOneHasEnded) {
  Table table(2);
  auto first = table.admit("a");
  auto second = table.admit("b");
  ASSERT_TRUE(first && second);
  const auto third = table.admit("c");
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().code, Code::queue_full);
  EXPECT_EQ(third.error().retry_after_ms, 1'000);
  {
    const auto ended = std::move(*first);
  }
  EXPECT_TRUE(table.admit("c"));
}

// clause: W-17
TEST(JobTable, GivesTheMeanGapOfFinishesAsRetryAfter) {
  FakeClock clock;
  FinishRate rate;
  EXPECT_EQ(rate.retry_after_ms(clock.now()), 1'000);
  for (int i = 0; i < 20; ++i) {
    clock.advance(milliseconds(200));
    rate.finished(clock.now());
  }
  EXPECT_EQ(rate.retry_after_ms(clock.now()), 200);
  clock.advance(milliseconds(3'000));  // a standstill counts
  EXPECT_EQ(rate.retry_after_ms(clock.now()), 400);
}

// clause: W-16
TEST(JobTable, LetsOnlyAHigherAttemptReplaceALiveJob) {
  Table table(1);
  auto first = table.admit("a", 1);
  ASSERT_TRUE(first);
  for (const std::uint32_t attempt : {0U, 1U}) {
    const auto same = table.admit("a", attempt);
    ASSERT_FALSE(same);
    EXPECT_EQ(same.error().code, Code::conflict);
  }
  auto second = table.admit("a", 2);  // although the table is full: it frees the place it takes
  ASSERT_TRUE(second);
  EXPECT_EQ(first->run().cancelled, CancelReason::replaced);
  EXPECT_EQ(table.cancelled, std::vector<std::string>{"a"});
  {
    const auto ended = std::move(*first);
  }  // the old run's end leaves the new one findable
  EXPECT_TRUE(table.jobs.cancel(JobId{"a"}));
  EXPECT_EQ(second->run().cancelled, CancelReason::client);
}

// clause: W-12
TEST(JobTable, AnswersACancelAgainForFiveMinutesAndThenNoMore) {
  Table table(4);
  {
    auto seat = table.admit("a");
    ASSERT_TRUE(seat);
    EXPECT_TRUE(table.jobs.cancel(JobId{"a"}));
    EXPECT_TRUE(table.jobs.cancel(JobId{"a"}));
  }
  EXPECT_EQ(table.cancelled.size(), 1U);
  EXPECT_TRUE(table.jobs.cancel(JobId{"a"}));
  table.clock.advance(milliseconds(299'000));
  EXPECT_TRUE(table.jobs.cancel(JobId{"a"}));
  table.clock.advance(milliseconds(2'000));
  const auto late = table.jobs.cancel(JobId{"a"});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::job_not_found);
}

TEST(JobTable, KnowsNoJobThatNeverWasOrFinishedByItself) {
  Table table(4);
  {
    auto seat = table.admit("done");
  }
  for (const char* id : {"done", "never"}) {
    SCOPED_TRACE(id);
    const auto cancelled = table.jobs.cancel(JobId{id});
    ASSERT_FALSE(cancelled);
    EXPECT_EQ(cancelled.error().code, Code::job_not_found);
  }
}

// Symptom: a cancel that came while the last bytes were being written said "cancelled".
TEST(JobTable, DoesNotFindAJobWhoseLastBytesAreBeingWritten) {
  Table table(4);
  auto seat = table.admit("a");
  table.jobs.finished(seat->run());
  const auto cancelled = table.jobs.cancel(JobId{"a"});
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().code, Code::job_not_found);
}

TEST(JobTable, ForgetsAnOldCancelWhenTheIdRunsAgain) {
  Table table(4);
  {
    auto seat = table.admit("a");
    EXPECT_TRUE(table.jobs.cancel(JobId{"a"}));
  }
  {
    auto again = table.admit("a");
  }
  EXPECT_FALSE(table.jobs.cancel(JobId{"a"}));
}

TEST(JobTable, GivesACancelledJobsPlaceAwayAtOnce) {
  Table table(1);
  auto first = table.admit("a");
  ASSERT_TRUE(first);
  EXPECT_TRUE(table.jobs.cancel(JobId{"a"}));
  EXPECT_TRUE(table.admit("b"));
}

TEST(JobTable, TellsWhenItHasBecomeEmpty) {
  Table table(4);
  int told = 0;
  table.jobs.on_empty([&] { ++told; });
  {
    auto first = table.admit("a");
    {
      auto second = table.admit("b");
    }
    EXPECT_EQ(told, 0);
    table.jobs.cancel_all(CancelReason::shutdown);
    EXPECT_EQ(first->run().cancelled, CancelReason::shutdown);
  }
  EXPECT_EQ(told, 1);
  EXPECT_EQ(table.jobs.live(), 0U);
}

}  // namespace
}  // namespace llorch
