// What the decision machine says of times: starts, when to come back, what a standstill changes.
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <vector>

#include "base/limits.h"
#include "orchestrator/core/core.h"
#include "policy/built_in.h"

namespace llorch {
namespace {

class CoreTimeTest : public testing::Test {
 protected:
  CoreTimeTest() { make({}); }
  void make(CoreOptions options) { core_ = std::make_unique<Core>(options, policy_); }

  std::vector<Action> tell(Event event, Millis now) { return core_->step(std::move(event), now); }
  // 1 000 tokens/s of prompts, 100 of all streams together.
  void add_worker(const std::string& id, std::int32_t slots, Millis now = 0) {
    Registration told;
    told.worker_id = id;
    told.model = "m";
    told.slots_total = slots;
    told.context_tokens = 10'000;
    told.instance_id = "1";
    tell(WorkerRegistered{.registration = told}, now);
    beat(id, now);
  }
  void beat(const std::string& id, Millis now) {
    Heartbeat beat;
    beat.prefill_tokens_per_second = 1'000;
    beat.decode_tokens_per_second = 100;
    tell(WorkerBeat{id, beat}, now);
  }
  std::vector<Action> submit(const std::string& id, std::int64_t out, Millis now,
                             std::optional<Millis> deadline = {}) {
    JobSpec spec;
    spec.id.value = id;
    spec.model = "m";
    spec.prompt_tokens_estimate = 1;
    spec.max_tokens = out;
    spec.deadline_at_ms = deadline;
    return tell(JobSubmitted{spec}, now);
  }
  void end(const std::string& id, std::int64_t out, Millis now) {
    tell(AttemptEnded{JobId{id}, 0, out, StopReason::MAX_TOKENS}, now);
  }
  // So many jobs that use all they may.
  void learn(int jobs) {
    for (int i = 0; i < jobs; ++i) {
      const auto id = "learn" + std::to_string(i);
      submit(id, 10, i * 100);
      end(id, 10, i * 100 + 100);
    }
  }
  static const Error* refusal(const std::vector<Action>& actions) {
    for (const auto& action : actions) {
      const auto* const end = std::get_if<EndJob>(&action);
      if (end != nullptr && end->end.error) return &*end->end.error;
    }
    return nullptr;
  }

  BuiltInPolicy policy_;
  std::unique_ptr<Core> core_;
};

// clause: O-62
TEST_F(CoreTimeTest, SaysThatAFullQueueHasRoomWhenTheNextJobEnds) {
  make({.queue_capacity = 1});
  add_worker("a", 1);
  learn(20);
  submit("runs", 500, 10'000);  // 5 s
  submit("there", 10, 10'000);
  submit("waits", 10, 10'000);
  tell(AttemptStarted{JobId{"runs"}, 0, 1, 0}, 10'000);
  for (int i = 1; i <= 200; ++i) {
    const AttemptProgress progress{.job = JobId{"runs"}, .attempt = 0, .tokens_out = i};
    tell(progress, 10'000 + i * 10);
  }
  const auto refused = submit("refused", 10, 12'000);
  ASSERT_NE(refusal(refused), nullptr);
  EXPECT_NEAR(static_cast<double>(*refusal(refused)->retry_after_ms), 3'000, 200);
}

// Where jobs end anywhere before their limit, what they have left says little.
TEST_F(CoreTimeTest, GoesByThePastWhereJobsDoNotKeepToTheirEstimates) {
  make({.queue_capacity = 1});
  add_worker("a", 1);
  Millis now = 0;
  for (int i = 0; i < 40; ++i) {
    const auto id = "learn" + std::to_string(i);
    submit(id, 1'000, now);
    now += 200;
    end(id, i % 2 == 0 ? 10 : 900, now);
  }
  submit("runs", 1'000, now);
  submit("there", 1'000, now);
  submit("waits", 1'000, now);
  const auto refused = submit("refused", 1'000, now + 10);
  ASSERT_NE(refusal(refused), nullptr);
  EXPECT_NEAR(static_cast<double>(*refusal(refused)->retry_after_ms), 200, 20);
}

// clause: O-62
TEST_F(CoreTimeTest, PredictsTheStartFromWhatIsBeforeIt) {
  add_worker("a", 2);
  beat("a", 0);
  for (int i = 0; i < 4; ++i) submit("j" + std::to_string(i), 100, 0);
  // Two slots share 100 tokens/s: each job takes 2 s; the third waits at the worker.
  EXPECT_NEAR(static_cast<double>(core_->job(JobId{"j3"}, 0)->predicted_start_ms), 2'000, 50);
  submit("j4", 100, 0);
  EXPECT_NEAR(static_cast<double>(core_->job(JobId{"j4"}, 0)->predicted_start_ms), 4'000, 50);
}

// clause: O-62
TEST_F(CoreTimeTest, SaysWhenADeadlineThatCannotBeMetCouldBe) {
  add_worker("a", 1);
  learn(20);
  for (int i = 0; i < 6; ++i) submit("j" + std::to_string(i), 100, 10'000);  // 6 s of work
  const auto refused = submit("late", 100, 10'000, 13'000);                  // wants 7 s
  ASSERT_NE(refusal(refused), nullptr);
  EXPECT_EQ(refusal(refused)->code, Code::deadline_unmet);
  EXPECT_NEAR(static_cast<double>(*refusal(refused)->retry_after_ms), 4'000, 200);
}

// clause: O-64
TEST_F(CoreTimeTest, LearnsHowLongAModelIsUsuallyAway) {
  add_worker("a", 1);
  EXPECT_EQ(core_->worker_expected_ms("m", 0), limits::full_retry_ms);
  for (int turn = 1; turn <= 3; ++turn) {
    tell(WorkerLeft{"a"}, turn * 60'000);
    add_worker("a", 1, turn * 60'000 + 4'000);
  }
  tell(WorkerLeft{"a"}, 300'000);
  EXPECT_EQ(core_->worker_expected_ms("m", 301'000), 3'000);
  EXPECT_EQ(core_->worker_expected_ms("m", 308'000), 8'000) << "longer than ever: as long again";
}

// clause: O-63
TEST_F(CoreTimeTest, TakesNoLeaseAwayForItsOwnStandstill) {
  add_worker("a", 1);
  submit("runs", 100, 0);
  for (Millis now = 100; now <= 2'000; now += 100) tell(TimePassed{}, now);
  beat("a", 2'000);
  const auto after = tell(TimePassed{}, 602'000);
  for (const auto& action : after) {
    EXPECT_FALSE(std::holds_alternative<AbortAttempt>(action));
    EXPECT_FALSE(std::holds_alternative<WorkerChanged>(action));
  }
  EXPECT_EQ(core_->workers().at("a").status, WorkerStatus::healthy);
  for (Millis now = 602'100; now <= 606'000; now += 100) tell(TimePassed{}, now);
  EXPECT_EQ(core_->workers().at("a").status, WorkerStatus::unhealthy) << "it is silent now";
}

// clause: O-63
TEST_F(CoreTimeTest, KeepsDeadlinesThroughAStandstill) {
  add_worker("a", 1);
  submit("runs", 100, 0, 5'000);
  tell(TimePassed{}, 100);
  const auto after = tell(TimePassed{}, 60'000);
  ASSERT_NE(refusal(after), nullptr);
  EXPECT_EQ(refusal(after)->code, Code::deadline_unmet);
}

}  // namespace
}  // namespace llorch
