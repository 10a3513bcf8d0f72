#include "orchestrator/core/core.h"

#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "base/limits.h"
#include "policy/built_in.h"

namespace llorch {
namespace {

class CoreTest : public testing::Test {
 protected:
  CoreTest() { make({}); }
  void make(CoreOptions options) { core_ = std::make_unique<Core>(options, policy_); }

  std::vector<Action> tell(Event event, Millis now) { return core_->step(std::move(event), now); }
  void add_worker(const std::string& id, std::int32_t slots = 1, std::string tokenizer = "t") {
    Registration told;
    told.worker_id = id;
    told.model = "m";
    told.slots_total = slots;
    told.context_tokens = 10'000;
    told.tokenizer_hash = std::move(tokenizer);
    told.instance_id = id + "-1";
    tell(WorkerRegistered{.registration = told}, 0);
    beat(id, 0);
  }
  std::vector<Action> beat(const std::string& id, Millis now) {
    Heartbeat beat;
    beat.prefill_tokens_per_second = 100;
    beat.decode_tokens_per_second = 10;
    return tell(WorkerBeat{id, beat}, now);
  }
  static JobSpec job(const std::string& id, std::int64_t prompt = 100, std::int64_t out = 10) {
    JobSpec spec;
    spec.id.value = id;
    spec.model = "m";
    spec.prompt_tokens_estimate = prompt;
    spec.prompt_bytes = prompt * 4;
    spec.max_tokens = out;
    return spec;
  }
  template <class T>
  static const T* find(const std::vector<Action>& actions) {
    for (const auto& action : actions) {
      if (const auto* found = std::get_if<T>(&action)) return found;
    }
    return nullptr;
  }
  static std::string where(const std::vector<Action>& actions) {
    const auto* dispatch = find<Dispatch>(actions);
    return dispatch == nullptr ? "" : dispatch->worker_id;
  }
  std::vector<Action> lose(const std::string& id, std::uint32_t attempt, std::int64_t tokens,
                           Millis now, Failure failure = Failure::worker_lost) {
    return tell(AttemptFailed{.job = JobId{id},
                              .attempt = attempt,
                              .tokens_out = tokens,
                              .failure = failure,
                              .error = {.code = Code::worker_lost, .message = "gone"}},
                now);
  }

  BuiltInPolicy policy_;
  std::unique_ptr<Core> core_;
};

// clause: O-44
TEST_F(CoreTest, ADrainedWorkerStaysDrainedUntilItIsAnotherProcess) {
  add_worker("a");
  tell(WorkerDrains{"a"}, 1);
  Registration again = core_->workers().at("a").registration;
  tell(WorkerRegistered{.registration = again}, 2);
  EXPECT_TRUE(core_->workers().at("a").draining);
  EXPECT_EQ(where(tell(JobSubmitted{job("1")}, 3)), "");
  again.instance_id = "another";
  EXPECT_EQ(where(tell(WorkerRegistered{.registration = again}, 4)), "a");
}

// clause: O-12
TEST_F(CoreTest, SendsAJobToTheWorkerThatHasItsPrefix) {
  add_worker("a", 4);
  add_worker("b", 4);
  auto first = job("1", 1'000);
  first.prefix_chain = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const auto chosen = where(tell(JobSubmitted{first}, 0));
  tell(AttemptEnded{JobId{"1"}, 0, 10, StopReason::EOS}, 5'000);
  for (int i = 2; i < 6; ++i) {
    auto again = first;
    again.id.value = std::to_string(i);
    EXPECT_EQ(where(tell(JobSubmitted{again}, 5'000 + i)), chosen);
    tell(AttemptEnded{again.id, 0, 10, StopReason::EOS}, 5'100 + i);
  }
}

TEST_F(CoreTest, SpreadsJobsThatShareNothing) {
  add_worker("a", 4);
  add_worker("b", 4);
  const auto first = where(tell(JobSubmitted{job("1")}, 0));
  const auto second = where(tell(JobSubmitted{job("2")}, 0));
  EXPECT_NE(first, second);
}

TEST_F(CoreTest, KeepsAtMostSlotsAndOneAtAWorker) {
  add_worker("a", 2);
  int sent = 0;
  for (int i = 0; i < 6; ++i) {
    if (!where(tell(JobSubmitted{job(std::to_string(i))}, i)).empty()) ++sent;
  }
  EXPECT_EQ(sent, 3);
  EXPECT_EQ(core_->queued(Priority::interactive), 3U);
  EXPECT_EQ(core_->job(JobId{"3"}, 10)->queue_position, 1);
}

TEST_F(CoreTest, MovesAJobAtOnceWhenAnotherWorkerCanGoOn) {
  add_worker("a");
  add_worker("b");
  const auto first = where(tell(JobSubmitted{job("1")}, 0));
  tell(AttemptStarted{JobId{"1"}, 0, 100, 0}, 10);
  const auto moved = lose("1", 0, 5, 100);
  const auto* again = find<Dispatch>(moved);
  ASSERT_NE(again, nullptr);
  EXPECT_NE(again->worker_id, first);
  EXPECT_EQ(again->attempt, 1U);
  EXPECT_NE(find<ProbeWorker>(moved), nullptr) << "the lost worker is asked at once";
}

TEST_F(CoreTest, NeverMovesTokensToAnotherTokenizer) {
  add_worker("a", 1, "t");
  tell(JobSubmitted{job("1")}, 0);
  tell(AttemptStarted{JobId{"1"}, 0, 100, 0}, 10);
  add_worker("b", 1, "other");
  EXPECT_EQ(where(lose("1", 0, 5, 100)), "");
  EXPECT_EQ(core_->job(JobId{"1"}, 100)->status, JobStatus::queued);
}

TEST_F(CoreTest, IgnoresNewsOfAnOlderAttempt) {
  add_worker("a");
  add_worker("b");
  tell(JobSubmitted{job("1")}, 0);
  lose("1", 0, 0, 10);
  EXPECT_EQ(find<EndJob>(tell(AttemptEnded{JobId{"1"}, 0, 9, StopReason::EOS}, 20)), nullptr);
  EXPECT_NE(find<EndJob>(tell(AttemptEnded{JobId{"1"}, 1, 9, StopReason::EOS}, 30)), nullptr);
}

TEST_F(CoreTest, GivesUpAfterFiveTries) {
  add_worker("a");
  tell(JobSubmitted{job("1")}, 0);
  Millis now = 0;
  std::uint32_t attempt = 0;
  const EndJob* ended = nullptr;
  std::vector<Action> actions;
  for (int i = 0; i < 10 && ended == nullptr; ++i) {
    now += 100;
    actions = lose("1", attempt, 0, now, Failure::internal);
    ended = find<EndJob>(actions);
    for (int wait = 0; wait < 700 && ended == nullptr && where(actions).empty(); ++wait) {
      now += 100;
      actions = beat("a", now);  // it is tried again as soon as its backoff is over
    }
    ++attempt;
  }
  ASSERT_NE(ended, nullptr);
  EXPECT_EQ(ended->end.status, JobStatus::failed);
  EXPECT_EQ(attempt, limits::attempts_max);
}

TEST_F(CoreTest, EndsAJobAtOnceWhoseErrorIsItsOwn) {
  add_worker("a");
  add_worker("b");
  tell(JobSubmitted{job("1")}, 0);
  const auto ended =
      tell(AttemptFailed{.job = JobId{"1"},
                         .attempt = 0,
                         .failure = Failure::backend,
                         .error = {.code = Code::context_length_exceeded, .message = "too long"}},
           10);
  ASSERT_NE(find<EndJob>(ended), nullptr);
  EXPECT_EQ(find<EndJob>(ended)->end.error->code, Code::context_length_exceeded);
}

// A prefill of 180 s shows progress by its steps: it is slow, not hung.
TEST_F(CoreTest, LeavesALongPrefillAlone) {
  add_worker("a");
  add_worker("b");
  tell(JobSubmitted{job("1", 8'000)}, 0);
  tell(AttemptStarted{JobId{"1"}, 0, 8'000, 0}, 10);
  for (Millis now = 1'000; now <= 180'000; now += 1'000) {
    beat("a", now);
    beat("b", now);
    tell(AttemptProgress{.job = JobId{"1"}, .attempt = 0, .prompt_done = now / 25}, now);
    EXPECT_EQ(find<AbortAttempt>(tell(TimePassed{}, now)), nullptr);
  }
  EXPECT_EQ(core_->job(JobId{"1"}, 180'000)->attempt, 0U);
}

TEST_F(CoreTest, MovesAJobThatMakesNoProgress) {
  add_worker("a");
  add_worker("b");
  tell(JobSubmitted{job("1")}, 0);
  tell(AttemptStarted{JobId{"1"}, 0, 100, 0}, 10);
  std::vector<Action> actions;
  for (Millis now = 1'000; now <= 61'000; now += 1'000) {
    beat("a", now);
    beat("b", now);
    actions = tell(TimePassed{}, now);
    if (find<AbortAttempt>(actions) != nullptr) break;
  }
  ASSERT_NE(find<AbortAttempt>(actions), nullptr);
  ASSERT_NE(find<Dispatch>(actions), nullptr);
  EXPECT_EQ(find<Dispatch>(actions)->attempt, 1U);
}

TEST_F(CoreTest, RefusesWhenTheQueueIsFullOrDropsTheOldestBatchJob) {
  for (const bool drop : {false, true}) {
    SCOPED_TRACE(drop);
    make({.queue_capacity = 1, .drop_lru = drop});
    add_worker("a");
    tell(JobSubmitted{job("1")}, 0);
    tell(JobSubmitted{job("2")}, 0);
    auto batch = job("batch");
    batch.priority = Priority::batch;
    tell(JobSubmitted{batch}, 0);
    const auto ended = tell(JobSubmitted{job("4")}, 0);
    const auto* end = find<EndJob>(ended);
    ASSERT_NE(end, nullptr);
    EXPECT_EQ(end->job.value, drop ? "batch" : "4");
    EXPECT_EQ(end->end.error->code, Code::queue_full);
  }
}

TEST_F(CoreTest, EndsACancelledJobFromEverywhere) {
  add_worker("a");
  for (int i = 0; i < 3; ++i) tell(JobSubmitted{job(std::to_string(i))}, 0);
  const auto waiting = tell(JobCancelled{JobId{"2"}}, 1);
  EXPECT_EQ(find<AbortAttempt>(waiting), nullptr);
  EXPECT_EQ(find<EndJob>(waiting)->end.status, JobStatus::cancelled);
  const auto running = tell(JobCancelled{JobId{"0"}}, 2);
  EXPECT_NE(find<AbortAttempt>(running), nullptr);
  EXPECT_EQ(find<EndJob>(running)->end.status, JobStatus::cancelled);
  EXPECT_TRUE(tell(JobCancelled{JobId{"0"}}, 3).empty()) << "a second cancel does nothing";
}

// clause: O-10
TEST_F(CoreTest, GivesASilentWorkerNoWorkAndRemovesItAfterFiveMinutes) {
  add_worker("a");
  Millis now = 0;
  const ForgetWorker* gone = nullptr;
  std::vector<Action> actions;
  int probes = 0;
  while (gone == nullptr && now < 400'000) {
    now += 500;
    actions = tell(TimePassed{}, now);
    if (const auto* probe = find<ProbeWorker>(actions)) {
      ++probes;
      tell(WorkerProbed{probe->worker_id, false}, now);
    }
    gone = find<ForgetWorker>(actions);
    if (now == 5'000) {
      EXPECT_EQ(where(tell(JobSubmitted{job("1")}, now)), "");
    }
  }
  ASSERT_NE(gone, nullptr);
  EXPECT_TRUE(gone->clean_up);
  EXPECT_GE(now, limits::worker_dead_ms);
  EXPECT_GT(probes, 250) << "asked about once a second";
}

TEST_F(CoreTest, TakesAWorkerBackAtItsFirstGoodProbe) {
  add_worker("a");
  tell(WorkerProbed{"a", false}, 10);
  EXPECT_EQ(where(tell(JobSubmitted{job("1")}, 20)), "");
  EXPECT_EQ(where(tell(WorkerProbed{"a", true}, 30)), "a");
}

// clause: O-3
TEST_F(CoreTest, AStopBeginsNothingNewAndMovesWhatHasBegun) {
  add_worker("a");
  ASSERT_EQ(where(tell(JobSubmitted{job("1")}, 0)), "a");
  tell(JobSubmitted{job("2")}, 0);  // waits at the worker
  auto chat = job("3");
  chat.capability = "chat";
  tell(JobSubmitted{chat}, 0);
  tell(JobSubmitted{job("4")}, 0);
  const auto actions = tell(Draining{}, 10);
  ASSERT_NE(find<EndJob>(actions), nullptr);
  EXPECT_EQ(find<EndJob>(actions)->job.value, "3");
  EXPECT_EQ(find<EndJob>(actions)->end.error->code, Code::draining);
  Registration told = core_->workers().at("a").registration;
  told.worker_id = told.instance_id = "b";
  EXPECT_EQ(where(tell(WorkerRegistered{.registration = told}, 20)), "") << "a new task";
  const auto moved = lose("1", 0, 3, 30);
  EXPECT_EQ(where(moved), "b");
  EXPECT_EQ(find<Dispatch>(moved)->job.value, "1");
}

// clause: O-10
// It won every job and failed it: its beats made it healthy again each second.
TEST_F(CoreTest, AWorkerThatBeatsButCannotBeReachedGetsNoWorkAndIsRemoved) {
  add_worker("a");
  ASSERT_EQ(where(tell(JobSubmitted{job("1")}, 0)), "a");
  lose("1", 0, 0, 10, Failure::unreachable);
  const ForgetWorker* gone = nullptr;
  std::vector<Action> actions;
  Millis now = 0;
  for (; gone == nullptr && now < 400'000; now += 500) {
    EXPECT_EQ(where(beat("a", now)), "");
    actions = tell(TimePassed{}, now);
    EXPECT_EQ(where(actions), "");
    if (find<ProbeWorker>(actions) != nullptr) tell(WorkerProbed{"a", false}, now);
    gone = find<ForgetWorker>(actions);
  }
  ASSERT_NE(gone, nullptr);
  EXPECT_GE(now, limits::worker_dead_ms);
}

// clause: O-10
TEST_F(CoreTest, AsksAWorkerForItsHealthBesideItsBeats) {
  add_worker("a");
  int probes = 0;
  for (Millis now = 0; now < 100'000; now += 500) {
    beat("a", now);
    const auto actions = tell(TimePassed{}, now);
    if (find<ProbeWorker>(actions) == nullptr) continue;
    ++probes;
    tell(WorkerProbed{"a", true}, now);
  }
  EXPECT_EQ(probes, 3);
}

TEST_F(CoreTest, EndsAJobWhoseDeadlinePasses) {
  add_worker("a");
  auto late = job("1");
  late.deadline_at_ms = 1'000;
  tell(JobSubmitted{late}, 0);
  beat("a", 999);
  EXPECT_EQ(find<EndJob>(tell(TimePassed{}, 999)), nullptr);
  const auto ended = tell(TimePassed{}, 1'000);
  ASSERT_NE(find<EndJob>(ended), nullptr);
  EXPECT_EQ(find<EndJob>(ended)->end.error->code, Code::deadline_unmet);
  EXPECT_NE(find<AbortAttempt>(ended), nullptr);
}

// A crash between the first tokens and the note of their worker: the job waited for ever.
TEST_F(CoreTest, PlacesARestoredJobWhoseTokenizerWasNotNoted) {
  add_worker("a");
  auto restored = job("1");
  restored.restored = true;
  restored.attempt = 1;
  restored.tokens_out = 7;
  EXPECT_EQ(where(tell(JobSubmitted{restored}, 0)), "a");
}

// Answers for each job alone, whatever workers there are.
class PerJobPolicy final : public Policy {
 public:
  explicit PerJobPolicy(std::function<Placement::Kind(const PolicyJob&)> kind_of)
      : kind_of_(std::move(kind_of)) {}
  Placement schedule_job(const PolicyJob& job, std::span<const PolicyWorker>) override {
    return {.kind = kind_of_(job), .worker = 0, .reason = "not today", .decided_by = ""};
  }
  Admission should_admit(const PolicyJob&, std::int64_t) override { return {}; }
  std::optional<bool> should_retry(const PolicyJob&, std::uint32_t, const PolicyError&) override {
    return std::nullopt;
  }

 private:
  std::function<Placement::Kind(const PolicyJob&)> kind_of_;
};

// Sixteen jobs that a script made wait were asked about in each pass, and nobody behind them.
TEST_F(CoreTest, JobsThatAScriptMakesWaitHoldUpNoOthers) {
  PerJobPolicy policy([](const PolicyJob& asked) {
    const bool waits = asked.priority == Priority::batch;
    return waits ? Placement::Kind::wait : Placement::Kind::worker;
  });
  core_ = std::make_unique<Core>(CoreOptions{.queue_capacity = -1, .queue_timeout_ms = 900'000},
                                 policy);
  add_worker("a");
  for (int i = 0; i < 100; ++i) {
    auto waits = job("batch" + std::to_string(i));
    waits.priority = Priority::batch;
    tell(JobSubmitted{waits}, i);
  }
  Millis now = limits::promote_batch_ms + 1'000;  // they count as interactive, and are older
  beat("a", now);
  tell(WorkerProbed{"a", true}, now);
  auto at = where(tell(JobSubmitted{job("1", 1'000, 500)}, now));
  for (const auto end = now + 2'000; at.empty() && now < end; now += limits::tick_ms) {
    at = where(tell(TimePassed{}, now));
  }
  EXPECT_EQ(at, "a");
}

// The job is gone while it is being submitted: nothing of it may be looked at afterwards.
TEST_F(CoreTest, EndsAJobThatAPolicyRefusesAtItsPlacement) {
  PerJobPolicy policy([](const PolicyJob&) { return Placement::Kind::reject; });
  core_ = std::make_unique<Core>(CoreOptions{.queue_capacity = 1}, policy);
  add_worker("a");
  const auto ended = tell(JobSubmitted{job("1")}, 0);
  ASSERT_NE(find<EndJob>(ended), nullptr);
  EXPECT_EQ(find<EndJob>(ended)->end.error->code, Code::policy_rejected);
  EXPECT_EQ(core_->jobs_live(), 0U);
}

// The faster of two by a tenth got every new prompt, and lost those it had.
// clause: O-61
TEST_F(CoreTest, MachinesAboutEquallyFastShareNewPrompts) {
  const auto speeds = [this](double first, double second) {
    for (const auto& [id, rate] : {std::pair{"a", first}, std::pair{"b", second}}) {
      Heartbeat beat;
      beat.prefill_tokens_per_second = rate;
      beat.decode_tokens_per_second = 10;
      tell(WorkerBeat{id, beat}, 0);
    }
  };
  int number = 0;
  const auto given_to_second = [&](int jobs) {
    int second = 0;
    for (int i = 0; i < jobs; ++i, ++number) {
      auto one = job(std::to_string(number), 1'000, 1);
      for (PrefixHash block = 1; block <= 15; ++block) {
        one.prefix_chain.push_back(static_cast<PrefixHash>(number) * 100 + block);
      }
      second += where(tell(JobSubmitted{one}, 0)) == "b";
      tell(AttemptEnded{one.id, 0, 1, StopReason::EOS}, 0);
    }
    return second;
  };
  add_worker("a", 4);
  add_worker("b", 4);
  speeds(110, 100);
  EXPECT_GE(given_to_second(8), 3);
  speeds(200, 100);
  EXPECT_EQ(given_to_second(8), 0);
}

// Admits while nobody waits, and tries once more.
class GatePolicy final : public Policy {
 public:
  Placement schedule_job(const PolicyJob&, std::span<const PolicyWorker>) override { return {}; }
  Admission should_admit(const PolicyJob&, std::int64_t queue_depth) override {
    if (queue_depth == 0) return {};
    return {.kind = Admission::Kind::reject, .reason = "somebody waits"};
  }
  std::optional<bool> should_retry(const PolicyJob&, std::uint32_t attempt,
                                   const PolicyError&) override {
    return attempt < 2;
  }
};

// clause: O-40
TEST_F(CoreTest, RecordsWhatAPolicyWasAskedBesidePlacements) {
  GatePolicy policy;
  core_ = std::make_unique<Core>(CoreOptions{}, policy);
  add_worker("a");
  const auto placed = tell(JobSubmitted{job("1")}, 0);
  ASSERT_NE(find<Record>(placed), nullptr);
  EXPECT_EQ(find<Record>(placed)->decision.queue_depth, 0);
  for (int i = 0; i < 10 && core_->queued(Priority::interactive) == 0; ++i) {
    tell(JobSubmitted{job("more" + std::to_string(i))}, 1);
  }
  const auto refused = tell(JobSubmitted{job("3")}, 2);
  ASSERT_NE(find<Record>(refused), nullptr);
  const auto& refusal = find<Record>(refused)->decision;
  EXPECT_EQ(refusal.kind, Decision::Kind::rejected);
  EXPECT_EQ(refusal.queue_depth, 1);
  EXPECT_EQ(refusal.reason, "somebody waits");
  EXPECT_EQ(refusal.of.model, job("3").model);
}

// clause: O-40
TEST_F(CoreTest, RecordsEachTryThatFailedAndWhatBecameOfIt) {
  GatePolicy policy;
  core_ = std::make_unique<Core>(CoreOptions{}, policy);
  add_worker("a");
  tell(JobSubmitted{job("1")}, 0);
  const auto fails = [this](std::uint32_t attempt, Millis now) {
    const auto actions = tell(
        AttemptFailed{.job = JobId{"1"},
                      .attempt = attempt,
                      .failure = Failure::stalled,
                      .error = {.code = Code::worker_timeout, .message = std::string(1'000, 'x')}},
        now);
    const auto* const record = find<Record>(actions);
    return record == nullptr ? Decision{} : record->decision;
  };
  const auto first = fails(0, 10);
  EXPECT_EQ(first.kind, Decision::Kind::retried);
  EXPECT_EQ(first.worker_id, "a");
  ASSERT_TRUE(first.failed);
  EXPECT_EQ(first.failed->tries, 1U);
  EXPECT_EQ(first.failed->kind, "timeout");
  EXPECT_EQ(first.failed->code, "WORKER_TIMEOUT");
  EXPECT_EQ(first.failed->message, std::string(limits::failure_bytes_max, 'x'));
  std::vector<Action> again;
  Millis now = 1'000;
  for (; where(again).empty() && now < 10'000; now += limits::tick_ms) {
    again = beat("a", now);
    if (where(again).empty()) again = tell(TimePassed{}, now);
  }
  ASSERT_EQ(where(again), "a");
  const auto second = fails(find<Dispatch>(again)->attempt, now);
  EXPECT_EQ(second.kind, Decision::Kind::given_up);
  ASSERT_TRUE(second.failed);
  EXPECT_EQ(second.failed->tries, 2U);
}

// After a night without jobs the first that had to wait was told it would take a quarter of an
// hour.
TEST_F(CoreTest, DoesNotTakeAnIdleNightForSlowness) {
  add_worker("a");
  for (int i = 0; i < 10; ++i) {
    tell(JobSubmitted{job(std::to_string(i))}, i * 100);
    const std::int64_t tokens = i % 2 == 0 ? 1 : 9;  // so that only the past says how fast they end
    tell(AttemptEnded{JobId{std::to_string(i)}, 0, tokens, StopReason::EOS}, i * 100 + 50);
  }
  constexpr Millis morning = 8 * 3'600'000;
  EXPECT_LT(core_->retry_after_ms(morning), 200);
  beat("a", morning);
  for (int i = 10; i < 14; ++i) tell(JobSubmitted{job(std::to_string(i))}, morning);
  EXPECT_LT(core_->retry_after_ms(morning), 200);
  EXPECT_LT(core_->job(JobId{"13"}, morning)->predicted_start_ms, 1'000);
}

TEST_F(CoreTest, ForgetsAWorkerWhoseAddressAnotherHasTaken) {
  Registration told;
  told.worker_id = "old";
  told.model = "m";
  told.host = "10.0.0.1";
  told.port = 8001;
  tell(WorkerRegistered{.registration = told}, 0);
  told.worker_id = "new";
  told.model = "other";
  const auto actions = tell(WorkerRegistered{.registration = told}, 10);
  ASSERT_NE(find<ForgetWorker>(actions), nullptr);
  EXPECT_EQ(find<ForgetWorker>(actions)->worker_id, "old");
  EXPECT_FALSE(core_->serves("m", "execute"));
}

TEST_F(CoreTest, TakesAJobThatIsTooLongToAWorkerWithMoreRoom) {
  add_worker("a");  // first by name, and equal otherwise
  Registration large;
  large.worker_id = "b";
  large.model = "m";
  large.context_tokens = 32'000;
  large.tokenizer_hash = "t";
  tell(WorkerRegistered{.registration = large}, 0);
  auto first = tell(JobSubmitted{job("1")}, 0);
  ASSERT_EQ(where(first), "a");
  const auto moved =
      tell(AttemptFailed{.job = JobId{"1"},
                         .attempt = 0,
                         .failure = Failure::backend,
                         .error = {.code = Code::context_length_exceeded, .message = "too long"}},
           10);
  EXPECT_EQ(where(moved), "b");
}

// The clock of a machine that slept, or was set back, must not undo what has happened.
TEST_F(CoreTest, IsNotConfusedByAClockThatGoesBack) {
  add_worker("a");
  tell(JobSubmitted{job("1")}, 10'000);
  EXPECT_EQ(find<EndJob>(tell(TimePassed{}, 100)), nullptr);
  EXPECT_NE(find<EndJob>(tell(AttemptEnded{JobId{"1"}, 0, 3, StopReason::EOS}, 50)), nullptr);
}

}  // namespace
}  // namespace llorch
