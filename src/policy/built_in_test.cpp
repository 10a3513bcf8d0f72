#include "policy/built_in.h"

#include <gtest/gtest.h>
#include <random>

#include "base/limits.h"
#include "policy/rest_rule.h"
#include "policy/testing.h"

namespace llorch {
namespace {

std::string chosen(Policy& policy, const std::vector<RecordedWorker>& fleet) {
  const auto job = test_job();
  const auto placement = policy.schedule_job(view_of(job), views_of(fleet));
  EXPECT_EQ(placement.kind, Placement::Kind::worker);
  return fleet[placement.worker].id;
}

TEST(BuiltInPolicy, PlacesByItsMode) {
  struct Case {
    PlacementMode mode;
    const char* wire;
    const char* want;
  };
  const Case cases[] = {{PlacementMode::cost, "cost", "b"},
                        {PlacementMode::least_loaded, "least-loaded", "c"},
                        {PlacementMode::round_robin, "round-robin", "a"}};
  for (const auto& [mode, wire, want] : cases) {
    SCOPED_TRACE(wire);
    BuiltInPolicy policy(mode);
    EXPECT_EQ(chosen(policy, test_fleet()), want);
    EXPECT_EQ(wire_name(mode), wire);
    EXPECT_EQ(placement_mode_from_wire(wire), mode);
  }
  EXPECT_EQ(placement_mode_from_wire("least_loaded"), std::nullopt);
}

TEST(BuiltInPolicy, SaysWhatDecided) {
  BuiltInPolicy policy(PlacementMode::least_loaded);
  const auto fleet = test_fleet();
  EXPECT_EQ(policy.schedule_job({}, views_of(fleet)).decided_by, "built-in least-loaded");
}

TEST(BuiltInPolicy, BreaksTiesByMemoryThenByTurn) {
  BuiltInPolicy policy;
  std::vector fleet = {test_worker("a"), test_worker("b"), test_worker("c")};
  fleet[1].memory_free_bytes += 1;
  fleet[2].memory_free_bytes += 1;
  EXPECT_EQ(chosen(policy, fleet), "b");
  EXPECT_EQ(chosen(policy, fleet), "c");
  EXPECT_EQ(chosen(policy, fleet), "b");
}

TEST(BuiltInPolicy, GoesRoundWhileWorkersComeAndGo) {
  BuiltInPolicy policy(PlacementMode::round_robin);
  std::vector fleet = {test_worker("a"), test_worker("b"), test_worker("c")};
  const std::vector other = {test_worker("x"), test_worker("y")};  // of another model
  std::string seen;
  for (int i = 0; i < 4; ++i) seen += chosen(policy, fleet) + chosen(policy, other);
  EXPECT_EQ(seen, "axbycxay");
  fleet.erase(fleet.begin());
  EXPECT_EQ(chosen(policy, fleet), "b");
}

TEST(PlacementTurns, ForgetsTheOldestWhenThereAreTooMany) {
  PlacementTurns turns;
  for (std::size_t i = 0; i <= limits::policy_turns_max; ++i) turns.note("w" + std::to_string(i));
  EXPECT_EQ(turns.of("w0"), 0U);
  EXPECT_EQ(turns.of("w1"), 2U);
}

TEST(BuiltInPolicy, AdmitsEverything) {
  BuiltInPolicy policy;
  EXPECT_EQ(policy.should_admit({}, 1'000'000).kind, Admission::Kind::admit);
}

TEST(BuiltInPolicy, RetriesTransientErrorsOnly) {
  struct Case {
    const char* kind;
    const char* code;
    std::uint32_t attempt;
    bool want;
  };
  const Case cases[] = {{"worker_lost", "WORKER_LOST", 1, true},
                        {"timeout", "WORKER_TIMEOUT", 4, true},
                        {"overloaded", "QUEUE_FULL", 4, true},
                        {"unreachable", "NO_WORKER", limits::attempts_max, false},
                        {"backend", "CONTEXT_LENGTH_EXCEEDED", 1, false},
                        {"backend", "WORKER_LOST", 1, is_retriable(Code::worker_lost)},
                        {"internal", "no such code", 1, false}};
  BuiltInPolicy policy;
  for (const auto& [kind, code, attempt, want] : cases) {
    SCOPED_TRACE(std::string(kind) + " " + code);
    EXPECT_EQ(policy.should_retry({}, attempt, {.kind = kind, .code = code, .message = ""}), want);
  }
}

// One rule of who is better, written in C++ and in Rust: they must not drift apart.
TEST(BuiltInPolicy, AgreesWithTheMethodsOfScripts) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto upto = [&](int max) {
    return static_cast<int>(random() % static_cast<unsigned>(max));
  };
  struct Case {
    PlacementMode mode;
    const char* script;
  };
  const Case cases[] = {{PlacementMode::cost, "workers.best(job)"},
                        {PlacementMode::least_loaded, "workers.least_loaded()"},
                        {PlacementMode::round_robin, "workers.round_robin()"}};
  for (const auto& [mode, script] : cases) {
    SCOPED_TRACE(script);
    FakeClock clock;
    BuiltInPolicy built_in(mode);
    const auto policy = loaded(schedules(script), clock);
    for (int round = 0; round < 200; ++round) {
      std::vector<RecordedWorker> fleet;
      for (int i = 0; i < 8; ++i) {
        auto worker = test_worker("w" + std::to_string(i), upto(3));
        worker.slots_free = upto(5);
        worker.queue_depth = worker.slots_free > 0 ? 0 : upto(3);
        worker.memory_free_bytes = upto(2);
        fleet.push_back(worker);
      }
      ASSERT_EQ(chosen(built_in, fleet), chosen(*policy, fleet)) << "round " << round;
    }
  }
}

TEST(RestRule, RestsAfterThreeHitsWithinTheWindow) {
  using std::chrono::milliseconds;
  FakeClock clock;
  RestRule rest;
  EXPECT_FALSE(rest.note_hit(clock.now()));
  clock.advance(milliseconds(limits::policy_hits_window_ms + 1));
  EXPECT_FALSE(rest.note_hit(clock.now()));
  EXPECT_FALSE(rest.note_hit(clock.now()));
  EXPECT_FALSE(rest.is_resting(clock.now()));
  clock.advance(milliseconds(limits::policy_hits_window_ms));
  EXPECT_TRUE(rest.note_hit(clock.now()));
  EXPECT_TRUE(rest.is_resting(clock.now()));
  clock.advance(milliseconds(limits::policy_rest_ms));
  EXPECT_FALSE(rest.is_resting(clock.now()));
  EXPECT_FALSE(rest.note_hit(clock.now())) << "hits before a rest count no more";
}

}  // namespace
}  // namespace llorch
