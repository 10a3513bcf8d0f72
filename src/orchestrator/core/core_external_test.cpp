// The rules for other people's servers: ours first, never from the middle, never past their slots.
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "base/limits.h"
#include "orchestrator/core/core.h"
#include "policy/built_in.h"

namespace llorch {
namespace {

class ExternalCore : public testing::Test {
 protected:
  std::vector<Action> tell(Event event, Millis now = 0) {
    return core_.step(std::move(event), now);
  }
  std::vector<Action> beat(const std::string& id, Millis now = 0) {
    Heartbeat beat;
    beat.prefill_tokens_per_second = 100;
    beat.decode_tokens_per_second = 10;
    return tell(WorkerBeat{id, beat}, now);
  }
  void add_own(const std::string& id, std::int32_t slots = 1) {
    Registration told;
    told.worker_id = id;
    told.model = "m";
    told.slots_total = slots;
    told.context_tokens = 10'000;
    told.tokenizer_hash = "t";
    told.instance_id = id;
    tell(WorkerRegistered{.registration = told});
    beat(id);
  }
  void add_external(const std::string& server, std::int32_t slots = 1, bool fallback = false,
                    const std::string& model = "m") {
    Registration told;
    told.worker_id = server + ":" + model;
    told.pool_host = server;
    told.host = "lab";
    told.port = 80;
    told.model = model;
    told.slots_total = slots;
    told.capabilities = {"chat", "completions", "embeddings"};
    told.instance_id = told.worker_id;
    tell(WorkerRegistered{.registration = told, .external = true, .fallback = fallback});
  }
  // Where it went; empty: it waits.
  std::string submit(const std::string& id, const std::string& capability = "chat",
                     const std::string& model = "m") {
    JobSpec spec;
    spec.id.value = id;
    spec.model = model;
    spec.capability = capability;
    spec.prompt_tokens_estimate = 100;
    spec.max_tokens = 10;
    return where(tell(JobSubmitted{spec}));
  }
  std::vector<Action> lose(const std::string& id, Failure failure, Code code, Millis now = 1,
                           std::int64_t tokens = 0, std::uint32_t attempt = 0) {
    return tell(AttemptFailed{.job = JobId{id},
                              .attempt = attempt,
                              .tokens_out = tokens,
                              .failure = failure,
                              .error = {.code = code, .message = "no"},
                              .resumable = false},
                now);
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

  BuiltInPolicy policy_{PlacementMode::cost};
  Core core_{{}, policy_};
};

// clause: O-31
TEST_F(ExternalCore, PrefersAnOwnWorkerUntilItIsBusy) {
  add_external("lab");
  add_own("own");
  EXPECT_EQ(submit("1"), "own");
  EXPECT_EQ(submit("2"), "lab:m") << "waiting for the own one would take longer";
}

// clause: O-31
TEST_F(ExternalCore, UsesAFallbackOnlyWhenNoOwnWorkerCanServe) {
  add_external("lab", 4, true);
  add_own("own");
  EXPECT_EQ(submit("1"), "own");
  EXPECT_EQ(submit("2"), "own") << "the place behind its slot";
  EXPECT_EQ(submit("3"), "") << "it is busy, but it can serve";
  EXPECT_EQ(where(tell(WorkerProbed{"own", false}, 1)), "lab:m");
}

// clause: O-31
TEST_F(ExternalCore, UsesAFallbackWhileTheOwnWorkerDrainsOrHasFailedTheJob) {
  add_external("lab", 4, true);
  add_own("own");
  EXPECT_EQ(submit("1"), "own");
  EXPECT_EQ(where(lose("1", Failure::backend, Code::backend_error)), "lab:m");
  tell(WorkerDrains{"own"}, 2);
  EXPECT_EQ(submit("2"), "lab:m");
}

// clause: O-30
TEST_F(ExternalCore, SendsAServerNoMoreThanItsSlotsWhateverItsModels) {
  add_external("lab", 2, false, "m");
  add_external("lab", 2, false, "n");
  EXPECT_EQ(submit("1", "chat", "m"), "lab:m");
  EXPECT_EQ(submit("2", "chat", "n"), "lab:n");
  EXPECT_EQ(submit("3", "chat", "m"), "");
  EXPECT_EQ(submit("4", "chat", "n"), "");
  EXPECT_EQ(where(tell(AttemptEnded{JobId{"1"}, 0, 5, StopReason::EOS}, 1)), "lab:m");
}

// clause: O-32
TEST_F(ExternalCore, RetriesBeforeTheFirstTokenAndNeverAfterIt) {
  add_external("lab");
  add_external("spare");
  EXPECT_EQ(submit("1"), "lab:m");
  EXPECT_EQ(where(lose("1", Failure::worker_lost, Code::worker_lost)), "spare:m");
  const auto ended = lose("1", Failure::worker_lost, Code::worker_lost, 2, 3, 1);
  ASSERT_NE(find<EndJob>(ended), nullptr);
  EXPECT_EQ(find<EndJob>(ended)->end.error.value_or(Error{}).code, Code::worker_lost);
}

// clause: O-32
TEST_F(ExternalCore, TakesARefusalElsewhereAndEndsTheJobWhenThereIsNobodyElse) {
  add_external("lab");
  add_external("spare");
  EXPECT_EQ(submit("1"), "lab:m");
  EXPECT_EQ(where(lose("1", Failure::backend, Code::invalid_request)), "spare:m");
  const auto ended = lose("1", Failure::internal, Code::backend_error, 2, 0, 1);
  ASSERT_NE(find<EndJob>(ended), nullptr) << "neither is asked again";
  EXPECT_EQ(find<EndJob>(ended)->end.error.value_or(Error{}).code, Code::backend_error);
}

// An own worker that was busy was not waited for: the server that had refused was asked again.
// clause: O-32
TEST_F(ExternalCore, WaitsForABusyOwnWorkerAfterARefusal) {
  add_own("own");
  EXPECT_EQ(submit("1"), "own");
  EXPECT_EQ(submit("2"), "own");
  add_external("lab");
  EXPECT_EQ(submit("3"), "lab:m");
  EXPECT_EQ(where(lose("3", Failure::internal, Code::backend_error)), "");
  EXPECT_EQ(where(tell(TimePassed{}, 3'000)), "") << "not at the one that refused it";
  EXPECT_EQ(where(tell(AttemptEnded{JobId{"1"}, 0, 5, StopReason::EOS}, 3'100)), "own");
}

// clause: O-32
TEST_F(ExternalCore, LeavesAServerAloneThatSaysItIsFull) {
  add_external("lab", 4);
  EXPECT_EQ(submit("1"), "lab:m");
  EXPECT_EQ(where(lose("1", Failure::overloaded, Code::queue_full)), "");
  EXPECT_EQ(submit("2"), "") << "until it has had its second";
  EXPECT_EQ(where(tell(TimePassed{}, 2'500)), "lab:m");
}

// clause: O-33
TEST_F(ExternalCore, GivesATaskNoServerWithoutTokenIds) {
  add_external("lab");
  EXPECT_FALSE(core_.serves("m", "execute"));
  EXPECT_TRUE(core_.serves("m", "chat"));
  EXPECT_EQ(submit("1", "execute"), "");
}

// It sends no beats, and its place in the settings outlives any silence.
// clause: O-34
TEST_F(ExternalCore, AsksAServerInsteadOfWaitingForBeatsAndNeverForgetsIt) {
  add_external("lab");
  tell(WorkerProbed{"lab:m", false}, 1);
  EXPECT_EQ(submit("1"), "");
  int probes = 0;
  for (Millis now = 1'000; now <= limits::worker_dead_ms + 10'000; now += 1'000) {
    const auto actions = tell(TimePassed{}, now);
    if (find<ProbeWorker>(actions) != nullptr) ++probes;
    EXPECT_EQ(find<ForgetWorker>(actions), nullptr);
  }
  EXPECT_GT(probes, 250);
  EXPECT_TRUE(core_.workers().contains("lab:m"));
  EXPECT_EQ(submit("2"), "");
  EXPECT_EQ(where(tell(WorkerProbed{"lab:m", true}, limits::worker_dead_ms + 11'000)), "lab:m");
}

// clause: O-34
TEST_F(ExternalCore, KeepsEachModelOfAServerAtOneAddress) {
  add_external("lab", 2, false, "m");
  add_external("lab", 2, false, "n");
  EXPECT_EQ(core_.workers().size(), 2U);
}

}  // namespace
}  // namespace llorch
