#include "policy/replay.h"

#include <gtest/gtest.h>

#include "policy/testing.h"

namespace llorch {
namespace {

DecisionRecord record_of(std::size_t worker, std::int64_t at_ms = 5'000) {
  const auto job = test_job();
  const auto fleet = test_fleet();
  const auto views = views_of(fleet);
  return make_record(
      at_ms, view_of(job), views,
      {.kind = Placement::Kind::worker, .worker = worker, .decided_by = "built-in cost"});
}

TEST(Replay, CountsWhatWouldChange) {
  ReplayClock clock;
  BuiltInPolicy fallback;
  const auto policy =
      loaded(schedules("if now_ms() == 2 { wait() } else if now_ms() == 3 "
                       "{ workers.least_loaded() } else if now_ms() == 4 { throw 1 }"),
             clock);
  auto waited = record_of(1, 2);
  waited.kind = DecisionRecord::Kind::wait;
  waited.worker_id.clear();
  auto without_workers = record_of(1);
  without_workers.workers.clear();
  const std::vector records = {record_of(1, 1), record_of(1, 2), record_of(1, 3),
                               record_of(1, 4), waited,          without_workers};
  const auto summary = replay(records, *policy, fallback, clock);
  EXPECT_EQ(summary.decisions, 5U);
  EXPECT_EQ(summary.same, 3U);
  EXPECT_EQ(summary.other_worker, 1U);
  EXPECT_EQ(summary.other_kind, 1U);
  ASSERT_EQ(summary.differences.size(), 2U);
  EXPECT_EQ(summary.differences[0].before, "worker b");
  EXPECT_EQ(summary.differences[0].after, "wait");
  EXPECT_EQ(summary.differences[1].after, "worker c");
  EXPECT_EQ(summary.differences[1].decided_by, "orchestration.rhai:1");
}

// clause: O-40
TEST(Replay, AsksWhetherAJobIsAdmitted) {
  ReplayClock clock;
  BuiltInPolicy fallback;
  const auto policy = loaded(
      "fn should_admit(job, queue) { if queue > 5 { reject(\"full\") } else { job.age_ms == 0 } }",
      clock);
  auto admitted = record_of(1);
  admitted.job.age_ms = 70;  // it waited, afterwards
  admitted.queue_depth = 5;
  auto too_many = admitted;
  too_many.queue_depth = 6;
  DecisionRecord refused{.job = test_job(), .kind = DecisionRecord::Kind::reject, .queue_depth = 6};
  auto let_in = refused;
  let_in.queue_depth = 0;
  let_in.job.age_ms = 0;
  const auto later = record_of(1);  // of another try: admitted long ago
  const std::vector records = {admitted, too_many, refused, let_in, later};
  const auto summary = replay(records, *policy, fallback, clock);
  EXPECT_EQ(summary.decisions, 5U);
  EXPECT_EQ(summary.other_kind, 2U);
  ASSERT_EQ(summary.differences.size(), 2U + summary.other_worker);
  EXPECT_EQ(summary.differences[0].before, "worker b");
  EXPECT_EQ(summary.differences[0].after, "reject: full");
  EXPECT_EQ(summary.differences[0].decided_by, "should_admit");
  EXPECT_EQ(summary.differences[1].before, "reject: ");
  EXPECT_EQ(summary.differences[1].after, "admit");
}

// clause: O-40
TEST(Replay, AsksWhetherAJobIsTriedAgain) {
  ReplayClock clock;
  BuiltInPolicy fallback;
  const auto policy = loaded(
      "fn should_retry(job, attempt, error) { if error.code == \"TIMEOUT\" { attempt < 2 } }",
      clock);
  const auto failed = [](const char* code, std::uint32_t tries, DecisionRecord::Kind kind) {
    return DecisionRecord{.job = test_job(),
                          .kind = kind,
                          .worker_id = "b",
                          .failed = FailedTry{.kind = "timeout", .code = code, .tries = tries}};
  };
  using Kind = DecisionRecord::Kind;
  const std::vector records = {failed("TIMEOUT", 1, Kind::retry), failed("TIMEOUT", 2, Kind::retry),
                               failed("WORKER_LOST", 2, Kind::retry),
                               failed("TIMEOUT", 1, Kind::give_up)};
  const auto summary = replay(records, *policy, fallback, clock);
  EXPECT_EQ(summary.decisions, 4U);
  EXPECT_EQ(summary.same, 2U);
  ASSERT_EQ(summary.differences.size(), 2U);
  EXPECT_EQ(summary.differences[0].after, "give up");
  EXPECT_EQ(summary.differences[1].before, "give up");
  EXPECT_EQ(summary.differences[1].after, "retry");
  EXPECT_TRUE(summary.workers.empty());  // nothing was placed
}

TEST(Replay, CountsByWorkerOverPages) {
  ReplayClock clock;
  BuiltInPolicy fallback;
  const auto policy = loaded(schedules("workers.least_loaded()"), clock);
  ReplaySummary summary;
  for (int page = 0; page < 2; ++page) {
    const std::vector records = {record_of(0), record_of(1)};
    replay(records, *policy, fallback, clock, summary);
  }
  EXPECT_EQ(summary.decisions, 4U);
  EXPECT_EQ(summary.workers.at("a"), (ReplayShift{2, 0}));
  EXPECT_EQ(summary.workers.at("b"), (ReplayShift{2, 0}));
  EXPECT_EQ(summary.workers.at("c"), (ReplayShift{0, 4}));
}

TEST(Replay, ListsOnlySoManyDifferences) {
  ReplayClock clock;
  BuiltInPolicy fallback;
  const std::vector records(limits::replay_differences_max + 5, record_of(0));
  const auto summary = replay(records, fallback, fallback, clock);
  EXPECT_EQ(summary.other_worker, records.size());
  EXPECT_EQ(summary.differences.size(), limits::replay_differences_max);
}

}  // namespace
}  // namespace llorch
