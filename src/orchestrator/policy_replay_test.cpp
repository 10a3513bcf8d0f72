#include "orchestrator/policy_replay.h"

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include "base/limits.h"
#include "fakes/memory_store.h"
#include "net/task_group.h"
#include "orchestrator/decision_text.h"

namespace llorch {
namespace {

constexpr const char* takes_b =
    "fn schedule_job(job, workers) { workers.filter(|w| w.id == \"b\").first() }";

class PolicyReplayTest : public testing::Test {
 protected:
  void decide(const std::string& worker, std::int64_t at_ms) {
    Decision decision{.job = JobId{"j" + std::to_string(at_ms)}};
    decision.candidates = {{.worker_id = "a"}, {.worker_id = "b"}};
    decision.worker_id = worker;
    append(at_ms, decision_text(decision));
  }
  void append(std::int64_t at_ms, std::string json) {
    ASSERT_TRUE(store_.write(AppendDecision{{.job_id = JobId{"j" + std::to_string(at_ms)},
                                             .at_ms = at_ms,
                                             .json = std::move(json)}},
                             {}));
  }
  ReplayReport replayed(const ReplayRequest& request, bool stop = false) {
    const auto report = replay_decisions(store_, request, [stop] { return stop; });
    EXPECT_TRUE(report) << report.error().message;
    return *report;
  }

  static Task<void> ask(PolicyReplay& replays, std::vector<Result<ReplayReport>>& reports) {
    ReplayRequest request{.script = takes_b, .since_ms = 0, .decisions_max = 10};
    auto report = co_await replays.run(std::move(request));
    reports.push_back(std::move(report));
  }

  MemoryStore store_;
};

// clause: O-40
TEST_F(PolicyReplayTest, ReadsThePagesOfTheNewestDecisions) {
  const auto count = limits::replay_page * 2 + 10;
  for (std::int64_t n = 0; n < count; ++n) decide(n % 2 == 0 ? "a" : "b", 100 + n);
  append(100 + count, "{}");
  const auto all = replayed({.script = takes_b, .since_ms = 0, .decisions_max = 10'000});
  EXPECT_EQ(all.recorded, count + 1);
  EXPECT_EQ(all.unreadable, 1);
  EXPECT_TRUE(all.complete);
  EXPECT_EQ(all.summary.decisions, static_cast<std::size_t>(count));
  EXPECT_EQ(all.summary.other_worker, static_cast<std::size_t>(count / 2));
  EXPECT_EQ(all.summary.workers.at("b").after, static_cast<std::size_t>(count));
  EXPECT_EQ(replayed({.script = takes_b, .since_ms = 105, .decisions_max = 10'000}).recorded,
            count - 4);
  const auto few = replayed({.script = takes_b, .since_ms = 0, .decisions_max = 3});
  EXPECT_EQ(few.recorded, count + 1);
  EXPECT_EQ(few.summary.decisions, 2U);  // and the unreadable one
}

// clause: O-40
TEST_F(PolicyReplayTest, EndsWhenNobodyWaitsAnyMore) {
  decide("a", 1);
  const auto report = replayed({.script = takes_b, .since_ms = 0, .decisions_max = 10}, true);
  EXPECT_FALSE(report.complete);
  EXPECT_EQ(report.summary.decisions, 0U);
}

// clause: O-40
TEST_F(PolicyReplayTest, RunsOneAtATimeOffTheThreadThatAsks) {
  decide("a", 1);
  boost::asio::io_context io;
  net::TaskGroup tasks(io.get_executor());
  PolicyReplay replays(io.get_executor(), store_);
  std::vector<Result<ReplayReport>> reports;
  tasks.spawn(ask(replays, reports));
  tasks.spawn(ask(replays, reports));
  io.run();
  ASSERT_EQ(reports.size(), 2U);
  ASSERT_FALSE(reports[0]);
  EXPECT_EQ(reports[0].error().code, Code::conflict);
  ASSERT_TRUE(reports[1]);
  EXPECT_EQ(reports[1]->summary.other_worker, 1U);
  io.restart();
  tasks.spawn(ask(replays, reports));
  io.run();
  EXPECT_TRUE(reports.at(2));
}

}  // namespace
}  // namespace llorch
