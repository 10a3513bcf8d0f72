#include "orchestrator/decision_text.h"

#include <gtest/gtest.h>

#include "base/limits.h"

namespace llorch {
namespace {

Decision a_decision(std::size_t workers) {
  Decision decision{.job = JobId{"j"},
                    .of = {.model = "m",
                           .tenant = "t",
                           .session_id = "s",
                           .priority = Priority::batch,
                           .prompt_tokens_estimate = 100,
                           .max_tokens = 20,
                           .temperature = 0.5},
                    .attempt = 2,
                    .waited_ms = 30};
  for (std::size_t n = 0; n < workers; ++n) {
    Candidate candidate{.worker_id = "w" + std::to_string(n), .host = "h", .backend = "cpu"};
    candidate.slots_total = 4;
    candidate.slots_free = 1;
    candidate.queue_depth = 3;
    candidate.cached_tokens = 50;
    candidate.wait_ms = static_cast<double>(workers - n);
    candidate.prefill_tokens_per_second = 500;
    candidate.decode_tokens_per_second = 20;
    candidate.memory_free_bytes = 1 << 30;
    decision.candidates.push_back(candidate);
  }
  decision.worker_id = "w0";
  decision.decided_by = "built-in cost";
  return decision;
}

// clause: O-40
TEST(DecisionText, KeepsWhatAPolicyWasShown) {
  const auto record = record_of(StoredDecision{
      .job_id = {"j"}, .attempt = 2, .at_ms = 77, .json = decision_text(a_decision(2))});
  ASSERT_TRUE(record);
  EXPECT_EQ(record->at_ms, 77);
  const RecordedJob job{.id = "j",
                        .model = "m",
                        .tenant = "t",
                        .session_id = "s",
                        .priority = Priority::batch,
                        .prompt_tokens_estimate = 100,
                        .max_tokens = 20,
                        .temperature = 0.5,
                        .age_ms = 30,
                        .attempt = 2};
  EXPECT_EQ(record->job, job);
  ASSERT_EQ(record->workers.size(), 2U);
  const RecordedWorker worker{.id = "w0",
                              .host = "h",
                              .model = "m",
                              .backend = "cpu",
                              .slots_total = 4,
                              .slots_free = 1,
                              .queue_depth = 3,
                              .cached_tokens = 50,
                              .cost_ms = 2,
                              .prefill_tokens_per_second = 500,
                              .decode_tokens_per_second = 20,
                              .memory_free_bytes = 1 << 30};
  EXPECT_EQ(record->workers[0], worker);
  EXPECT_EQ(record->kind, DecisionRecord::Kind::worker);
  EXPECT_EQ(record->worker_id, "w0");
  EXPECT_EQ(record->decided_by, "built-in cost");
}

TEST(DecisionText, OfALargeFleetKeepsTheChosenAndTheCheapest) {
  const auto record = record_of(
      StoredDecision{.json = decision_text(a_decision(limits::decision_candidates_max + 10))});
  ASSERT_TRUE(record);
  ASSERT_EQ(record->workers.size(), limits::decision_candidates_max);
  EXPECT_EQ(record->workers.front().id, "w0");  // the dearest, but the chosen one
  EXPECT_EQ(record->workers.back().id, "w73");
}

// clause: O-40
TEST(DecisionText, KeepsWhetherItWasAdmittedAndTriedAgain) {
  const auto back = [](const Decision& decision) {
    return record_of(StoredDecision{.json = decision_text(decision)}).value();
  };
  auto admitted = a_decision(1);
  admitted.queue_depth = 7;
  EXPECT_EQ(back(admitted).queue_depth, 7);
  EXPECT_EQ(back(a_decision(1)).queue_depth, std::nullopt);
  auto refused = a_decision(0);
  refused.kind = Decision::Kind::rejected;
  refused.worker_id.clear();
  refused.reason = "too many";
  EXPECT_EQ(back(refused).kind, DecisionRecord::Kind::reject);
  auto failed = a_decision(0);
  failed.kind = Decision::Kind::retried;
  failed.failed = {.kind = "timeout", .code = "TIMEOUT", .message = "no \"news\"", .tries = 2};
  const FailedTry told{.kind = "timeout", .code = "TIMEOUT", .message = "no \"news\"", .tries = 2};
  EXPECT_EQ(back(failed).failed, told);
  EXPECT_EQ(back(failed).kind, DecisionRecord::Kind::retry);
  failed.kind = Decision::Kind::given_up;
  EXPECT_EQ(back(failed).kind, DecisionRecord::Kind::give_up);
}

TEST(DecisionText, OfAnOlderLlorchIsNoRecord) {
  for (const auto* const text :
       {"", "{", "{}", R"({"candidates":[]})", R"({"job":1,"candidates":[]})",
        R"({"job":{},"candidates":[1]})"}) {
    EXPECT_FALSE(record_of(StoredDecision{.json = text})) << text;
  }
}

}  // namespace
}  // namespace llorch
