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

TEST(DecisionRecord, SurvivesItsJson) {
  auto placed = record_of(1);
  auto refused = record_of(0);
  refused.kind = DecisionRecord::Kind::reject;
  refused.worker_id.clear();
  refused.reason = "too \"long\"\n";
  auto waiting = record_of(0);
  waiting.kind = DecisionRecord::Kind::wait;
  for (const auto& record : {placed, refused, waiting, DecisionRecord{}}) {
    const auto back = decode_decision(encode(record));
    ASSERT_TRUE(back.has_value()) << back.error().message;
    EXPECT_EQ(*back, record);
  }
}

TEST(DecisionRecord, RefusesWhatItDoesNotKnow) {
  const auto decoded = decode_decision(
      R"({"job":{"priority":"urgent","nice":1},"workers":[7,{"slots_free":-1}],"choice":{"kind":"?"}})");
  ASSERT_FALSE(decoded.has_value());
  EXPECT_EQ(decoded.error().code, Code::invalid_request);
  std::string fields;
  for (const auto& violation : decoded.error().violations) fields += violation.field + " ";
  EXPECT_EQ(fields, "job.priority job.nice workers[0] workers[1].slots_free choice.kind ");
  EXPECT_FALSE(decode_decision("[]").has_value());
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
