// What every backend of Store does alike.
#include "store/store.h"

#include <gtest/gtest.h>

#include "base/limits.h"
#include "fakes/memory_store.h"
#include "fakes/temporary_folder.h"
#include "store/frames.h"
#include "store/sqlite_store.h"

namespace llorch {
namespace {

using Status = StoredJob::Status;

enum class Backend { sqlite, memory };

class StoreSuite : public testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    if (GetParam() == Backend::memory) {
      store_ = std::make_unique<MemoryStore>();
      return;
    }
    auto opened = SqliteStore::open(folder_ / "state/test.db");
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = std::move(*opened);
  }

  Result<void> put(StoreWrite write) {
    const auto answer = std::make_shared<std::promise<Result<void>>>();
    auto given = answer->get_future();
    const auto taken = store_->write(
        std::move(write), [answer](Result<void> done) { answer->set_value(std::move(done)); });
    return taken ? given.get() : taken;
  }
  Code code_of(StoreWrite write) {
    const auto done = put(std::move(write));
    EXPECT_FALSE(done);
    if (done) return Code::internal;
    EXPECT_FALSE(done.error().message.empty());
    return done.error().code;
  }
  std::optional<StoredJob> job(const std::string& id) {
    return *store_->read_now([&](StoreReader& reader) { return reader.job({id}); });
  }
  std::vector<std::string> listed(const JobFilter& filter) {
    const auto jobs = store_->read_now([&](StoreReader& reader) { return reader.jobs(filter); });
    std::vector<std::string> ids;
    for (const auto& found : *jobs) {
      EXPECT_EQ(found.body, "");
      ids.push_back(found.job_id.value);
    }
    return ids;
  }
  Result<void> end(const std::string& id, std::int64_t at_ms, Status status = Status::completed) {
    return put(UpdateJob{.job_id = {id}, .status = status, .ended_at_ms = at_ms});
  }

  TemporaryFolder folder_;
  std::unique_ptr<Store> store_;
};

StoredJob a_job(std::string id, std::int64_t accepted_at_ms = 1'000) {
  StoredJob job;
  job.job_id.value = std::move(id);
  job.model = "qwen";
  job.body = R"({"prompt":"hi"})";
  job.body_sha256 = "f00d";
  job.accepted_at_ms = accepted_at_ms;
  return job;
}

StoredJob a_full_job() {
  StoredJob job = a_job("full", 5);
  job.status = Status::running;
  job.route = StoredJob::Route::chat;
  job.tenant = "acme";
  job.priority = "batch";
  job.session_id = "s";
  job.deadline_at_ms = 9;
  job.dispatched_at_ms = 6;
  job.first_token_at_ms = 7;
  job.worker_id = "w";
  job.tokenizer_hash = "h";
  job.attempt = 4'000'000'000;
  job.prompt_tokens = 11;
  job.cached_tokens = 12;
  job.tokens_out = 13;
  job.stop_reason = "EOS";
  job.error_code = "WORKER_LOST";
  job.error_message = "it went away";
  job.correlation_id = "c";
  job.idempotency_key = "k";
  job.idempotency_hash = "kh";
  return job;
}

TEST_P(StoreSuite, AWorkerIsReplacedListedByIdAndRemoved) {
  StoredWorker second{.worker_id = {"b"}, .pool_host = "gpu-1", .host = "10.0.0.1", .port = 65'535};
  second.model = "qwen";
  second.backend = "cuda";
  second.last_health_check_ms = 1;
  second.registered_at_ms = 2;
  second.metadata_json = R"({"slots_total":4})";
  const StoredWorker first{.worker_id = {"a"}};
  ASSERT_TRUE(put(UpsertWorker{second}) && put(UpsertWorker{first}));
  second.status = StoredWorker::Status::unhealthy;
  ASSERT_TRUE(put(UpsertWorker{second}));
  const auto all = [&] {
    return *store_->read_now([](StoreReader& reader) { return reader.workers(); });
  };
  EXPECT_EQ(all(), (std::vector{first, second}));
  ASSERT_TRUE(put(RemoveWorker{{"a"}}) && put(RemoveWorker{{"a"}}));
  EXPECT_EQ(all(), std::vector{second});
}

// Each change of a worker, be it a missed beat, gave it a new time of registration.
TEST_P(StoreSuite, AWorkerKeepsTheTimeOfItsFirstRegistrationUntilItIsRemoved) {
  StoredWorker worker{.worker_id = {"w"}, .pool_host = "gpu-1", .host = "10.0.0.1", .port = 8'001};
  worker.last_health_check_ms = worker.registered_at_ms = 10;
  ASSERT_TRUE(put(UpsertWorker{worker}));
  StoredWorker later{.worker_id = {"w"}, .pool_host = "gpu-2", .host = "10.0.0.2", .port = 8'002};
  later.model = "qwen";
  later.backend = "cuda";
  later.status = StoredWorker::Status::unhealthy;
  later.last_health_check_ms = later.registered_at_ms = 20;
  later.metadata_json = R"({"draining":true})";
  ASSERT_TRUE(put(UpsertWorker{later}));
  const auto all = [&] {
    return *store_->read_now([](StoreReader& reader) { return reader.workers(); });
  };
  StoredWorker want = later;
  want.registered_at_ms = 10;
  EXPECT_EQ(all(), std::vector{want});
  ASSERT_TRUE(put(RemoveWorker{{"w"}}) && put(UpsertWorker{later}));
  EXPECT_EQ(all(), std::vector{later});
}

TEST_P(StoreSuite, AKeyIsReplacedAndListedById) {
  StoredKey key{.key_id = "k1", .name = "ci", .hash = std::string("\0\xff\x01", 3)};
  key.created_at_ms = 42;
  key.role = StoredKey::Role::worker;
  key.tenant = "acme";
  key.models_json = R"(["qwen"])";
  key.tokens_per_minute = 7;
  key.priority_max = "batch";
  key.priority_default = "batch";
  key.expires_at_ms = 99;
  ASSERT_TRUE(put(UpsertKey{key}) && put(UpsertKey{StoredKey{.key_id = "k0"}}));
  key.revoked_at_ms = 77;
  ASSERT_TRUE(put(UpsertKey{key}));
  const auto keys = store_->read_now([](StoreReader& reader) { return reader.keys(); });
  EXPECT_EQ(*keys, (std::vector{StoredKey{.key_id = "k0"}, key}));
}

TEST_P(StoreSuite, AJobComesBackAsItWasGiven) {
  ASSERT_TRUE(put(InsertJob{a_full_job()}));
  EXPECT_EQ(job("full"), a_full_job());
  EXPECT_EQ(job("other"), std::nullopt);
  StoredJob odd = a_job("odd");
  odd.error_message = std::string("a\0'\"\xff\n", 6);
  odd.body = std::string("\0\xff", 2);
  ASSERT_TRUE(put(InsertJob{odd}));
  EXPECT_EQ(job("odd"), odd);
}

TEST_P(StoreSuite, AJobIdAndAnIdempotencyKeyOfATenantAreTakenOnce) {
  StoredJob first = a_job("1");
  first.tenant = "acme";
  first.idempotency_key = "k";
  ASSERT_TRUE(put(InsertJob{first}));
  EXPECT_EQ(code_of(InsertJob{first}), Code::conflict);
  StoredJob same_key = first;
  same_key.job_id.value = "2";
  EXPECT_EQ(code_of(InsertJob{same_key}), Code::conflict);
  EXPECT_EQ(job("2"), std::nullopt);
  StoredJob other_tenant = same_key;
  other_tenant.tenant = "else";
  EXPECT_TRUE(put(InsertJob{other_tenant}));
  EXPECT_TRUE(put(InsertJob{a_job("3")}) && put(InsertJob{a_job("4")}));  // no key at all

  const auto of_key = [&](const char* tenant, const char* key) {
    return *store_->read_now([=](StoreReader& reader) { return reader.job_of_key(tenant, key); });
  };
  first.body.clear();
  EXPECT_EQ(of_key("acme", "k"), first);
  EXPECT_EQ(of_key("acme", "other"), std::nullopt);
  EXPECT_EQ(of_key("", ""), std::nullopt);
}

TEST_P(StoreSuite, AnUpdateChangesWhatItNamesAndNothingElse) {
  StoredJob want = a_full_job();
  ASSERT_TRUE(put(InsertJob{want}));
  ASSERT_TRUE(put(UpdateJob{.job_id = want.job_id}));
  EXPECT_EQ(job("full"), want);
  UpdateJob update{.job_id = want.job_id, .status = Status::dispatched, .worker_id = "w2"};
  update.attempt = 2;
  update.dispatched_at_ms = 60;
  want.status = Status::dispatched;
  want.worker_id = "w2";
  want.attempt = 2;
  want.dispatched_at_ms = 60;
  ASSERT_TRUE(put(update));
  EXPECT_EQ(job("full"), want);
}

TEST_P(StoreSuite, AnEndKeepsItsFiguresAndOnlyTheHashOfTheBody) {
  ASSERT_TRUE(put(InsertJob{a_job("1")}));
  UpdateJob update{.job_id = {"1"}, .status = Status::failed, .ended_at_ms = 50};
  update.tokenizer_hash = "h";
  update.first_token_at_ms = 40;
  update.prompt_tokens = 1;
  update.cached_tokens = 2;
  update.tokens_out = 3;
  update.stop_reason = "";
  update.error_code = "BACKEND_ERROR";
  update.error_message = "no";
  ASSERT_TRUE(put(update));
  StoredJob want = a_job("1");
  want.body.clear();
  want.status = Status::failed;
  want.ended_at_ms = 50;
  want.tokenizer_hash = "h";
  want.first_token_at_ms = 40;
  want.prompt_tokens = 1;
  want.cached_tokens = 2;
  want.tokens_out = 3;
  want.error_code = "BACKEND_ERROR";
  want.error_message = "no";
  EXPECT_EQ(job("1"), want);
}

TEST_P(StoreSuite, TheFirstEndStays) {
  ASSERT_TRUE(put(InsertJob{a_job("1")}));
  ASSERT_TRUE(end("1", 10, Status::cancelled));
  EXPECT_EQ(code_of(UpdateJob{.job_id = {"1"}, .status = Status::completed, .ended_at_ms = 11}),
            Code::conflict);
  EXPECT_EQ(code_of(UpdateJob{.job_id = {"1"}, .worker_id = "w"}), Code::conflict);
  EXPECT_EQ(job("1")->status, Status::cancelled);
  EXPECT_EQ(job("1")->ended_at_ms, 10);
}

TEST_P(StoreSuite, WhatMakesNoSenseIsRefusedAndChangesNothing) {
  ASSERT_TRUE(put(InsertJob{a_job("1")}));
  EXPECT_EQ(code_of(UpdateJob{.job_id = {"1"}, .status = Status::failed}), Code::invalid_request);
  EXPECT_EQ(code_of(UpdateJob{.job_id = {"1"}, .ended_at_ms = 1}), Code::invalid_request);
  EXPECT_EQ(code_of(UpdateJob{.job_id = {"2"}}), Code::job_not_found);
  EXPECT_EQ(code_of(FoldFrames{{"2"}, "x"}), Code::job_not_found);
  StoredJob ended = a_job("3");
  ended.status = Status::completed;
  EXPECT_EQ(code_of(InsertJob{ended}), Code::invalid_request);
  StoredJob large = a_job("4");
  large.body.assign(limits::body_bytes_max + 1, 'x');
  EXPECT_EQ(code_of(InsertJob{large}), Code::too_large);
  large.body.pop_back();
  EXPECT_TRUE(put(InsertJob{large}));
  EXPECT_EQ(code_of(FoldFrames{{"1"}, std::string(limits::store_frames_bytes_max + 1, 'x')}),
            Code::too_large);
  EXPECT_EQ(job("1"), a_job("1"));
  EXPECT_EQ(job("3"), std::nullopt);
}

TEST_P(StoreSuite, WritesHappenInTheOrderGiven) {
  EXPECT_TRUE(store_->write(InsertJob{a_job("1")}));
  EXPECT_TRUE(store_->write(UpdateJob{.job_id = {"1"}, .worker_id = "a"}));
  EXPECT_TRUE(put(UpdateJob{.job_id = {"1"}, .tokens_out = 5}));
  EXPECT_TRUE(store_->write(UpdateJob{.job_id = {"1"}, .worker_id = "b"}));
  EXPECT_TRUE(store_->flush());
  EXPECT_EQ(job("1")->worker_id, "b");
  EXPECT_EQ(job("1")->tokens_out, 5);
}

TEST_P(StoreSuite, AListIsNewestFirstAndGoesOnAfterAnyJob) {
  for (const auto& [id, at_ms] : {std::pair{"a", 10}, {"b", 30}, {"c", 20}, {"d", 20}}) {
    ASSERT_TRUE(put(InsertJob{a_job(id, at_ms)}));
  }
  using Ids = std::vector<std::string>;
  EXPECT_EQ(listed({}), (Ids{"b", "d", "c", "a"}));
  EXPECT_EQ(listed({.limit = 2}), (Ids{"b", "d"}));
  EXPECT_EQ(listed({.before = JobPlace{20, {"d"}}, .limit = 2}), (Ids{"c", "a"}));
  EXPECT_EQ(listed({.before = JobPlace{10, {"a"}}}), Ids{});
  EXPECT_EQ(listed({.before = JobPlace{20, {"cc"}}}), (Ids{"c", "a"}));  // its row may be gone
  EXPECT_EQ(listed({.limit = 0}), Ids{});
}

TEST_P(StoreSuite, AListIsNarrowedByEachFilterAndByAllOfThem) {
  StoredJob one = a_job("1", 1);
  one.tenant = "acme";
  StoredJob two = a_job("2", 2);
  two.tenant = "acme";
  two.model = "phi3";
  two.status = Status::running;
  ASSERT_TRUE(put(InsertJob{one}) && put(InsertJob{two}) && put(InsertJob{a_job("3", 3)}));
  ASSERT_TRUE(end("3", 5));
  using Ids = std::vector<std::string>;
  EXPECT_EQ(listed({.status = Status::queued}), Ids{"1"});
  EXPECT_EQ(listed({.status = Status::completed}), Ids{"3"});
  EXPECT_EQ(listed({.model = "qwen"}), (Ids{"3", "1"}));
  EXPECT_EQ(listed({.tenant = "acme"}), (Ids{"2", "1"}));
  EXPECT_EQ(listed({.tenant = ""}), Ids{"3"});
  EXPECT_EQ(listed({.status = Status::running, .model = "phi3", .tenant = "acme"}), Ids{"2"});
  EXPECT_EQ(listed({.status = Status::queued, .model = "phi3"}), Ids{});
  EXPECT_EQ(listed({.tenant = "acme", .before = JobPlace{2, {"2"}}}), Ids{"1"});
  EXPECT_EQ(listed({.since_ms = 2}), (Ids{"3", "2"}));
  EXPECT_EQ(listed({.since_ms = 4}), Ids{});
}

TEST_P(StoreSuite, AJobThatIsTakenBackLeavesNoRowAndItsKeyIsFree) {
  StoredJob refused = a_job("1");
  refused.idempotency_key = "k";
  ASSERT_TRUE(put(InsertJob{refused}) && put(FoldFrames{{"1"}, "x"}));
  ASSERT_TRUE(put(RemoveJob{{"1"}}) && put(RemoveJob{{"1"}}));
  EXPECT_EQ(job("1"), std::nullopt);
  EXPECT_EQ(listed({}), std::vector<std::string>{});
  refused.job_id.value = "2";
  EXPECT_TRUE(put(InsertJob{refused}));
}

TEST_P(StoreSuite, OneListIsBounded) {
  for (std::size_t n = 0; n < limits::store_list_max + 5; ++n) {
    ASSERT_TRUE(store_->write(InsertJob{a_job(std::to_string(n))}));
  }
  ASSERT_TRUE(store_->flush());
  EXPECT_EQ(listed({.limit = 1'000'000}).size(), limits::store_list_max);
}

TEST_P(StoreSuite, OpenJobsAreThoseOfV2OldestFirstWithTheirBodies) {
  StoredJob running = a_job("r", 1);
  running.status = Status::running;
  StoredJob chat = a_job("v1", 2);
  chat.route = StoredJob::Route::completions;
  ASSERT_TRUE(put(InsertJob{a_job("q", 3)}) && put(InsertJob{running}) && put(InsertJob{chat}));
  ASSERT_TRUE(put(InsertJob{a_job("e", 0)}) && end("e", 9));
  const auto open = store_->read_now([](StoreReader& reader) { return reader.open_jobs(); });
  EXPECT_EQ(*open, (std::vector{running, a_job("q", 3)}));
}

TEST_P(StoreSuite, OpenJobsOfConnectionsThatAreGoneFail) {
  StoredJob chat = a_job("chat", 2);
  chat.route = StoredJob::Route::chat;
  StoredJob ended = a_job("ended", 3);
  ended.route = StoredJob::Route::embeddings;
  ASSERT_TRUE(put(InsertJob{chat}) && put(InsertJob{ended}) && put(InsertJob{a_job("v2", 1)}));
  ASSERT_TRUE(end("ended", 5) && put(EndAbandoned{9, "INTERNAL", "it was restarted"}));
  EXPECT_EQ(job("chat")->status, Status::failed);
  EXPECT_EQ(job("chat")->ended_at_ms, 9);
  EXPECT_EQ(job("chat")->error_code, "INTERNAL");
  EXPECT_EQ(job("chat")->error_message, "it was restarted");
  EXPECT_EQ(job("chat")->body, "");
  EXPECT_EQ(job("ended")->ended_at_ms, 5);
  EXPECT_EQ(job("v2"), a_job("v2", 1));
}

// clause: O-39
TEST_P(StoreSuite, UsageIsSummedByTenantAndModelSinceThen) {
  const auto add = [&](const std::string& id, std::int64_t at_ms, const std::string& tenant,
                       const std::string& model, Status status) {
    auto stored = a_job(id, at_ms);
    stored.tenant = tenant;
    stored.model = model;
    ASSERT_TRUE(put(InsertJob{stored}));
    ASSERT_TRUE(put(UpdateJob{.job_id = {id},
                              .status = status,
                              .ended_at_ms = at_ms + 1,
                              .prompt_tokens = 100,
                              .cached_tokens = 60,
                              .tokens_out = 7}));
  };
  add("old", 10, "a", "qwen", Status::completed);
  add("1", 20, "b", "qwen", Status::completed);
  add("2", 21, "a", "qwen", Status::failed);
  add("3", 22, "a", "qwen", Status::completed);
  add("4", 23, "a", "phi3", Status::cancelled);
  const auto rows = store_->read_now([](StoreReader& reader) { return reader.usage(20); });
  ASSERT_TRUE(rows) << rows.error().message;
  const auto sum = [](std::string tenant, std::string model, std::int64_t jobs,
                      std::int64_t failed) {
    return StoredUsage{.tenant = std::move(tenant),
                       .model = std::move(model),
                       .jobs = jobs,
                       .failed = failed,
                       .prompt_tokens = 100 * jobs,
                       .cached_tokens = 60 * jobs,
                       .tokens_out = 7 * jobs};
  };
  EXPECT_EQ(*rows, (std::vector<StoredUsage>{sum("a", "phi3", 1, 0), sum("a", "qwen", 2, 1),
                                             sum("b", "qwen", 1, 0)}));
  const auto none = store_->read_now([](StoreReader& reader) { return reader.usage(99); });
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->empty());
}

// clause: O-25
TEST_P(StoreSuite, WhatJobsOfAKeyUsedIsToldByTheTimeTheyEnded) {
  const auto add = [&](const std::string& id, const std::string& key, std::int64_t ended_at_ms) {
    auto stored = a_job(id, 1);
    stored.key_id = key;
    ASSERT_TRUE(put(InsertJob{stored}));
    if (ended_at_ms == 0) return;
    ASSERT_TRUE(put(UpdateJob{.job_id = {id},
                              .status = Status::failed,
                              .ended_at_ms = ended_at_ms,
                              .prompt_tokens = 100,
                              .tokens_out = 7}));
  };
  add("early", "a", 9);
  add("open", "a", 0);
  add("nobody's", "", 10);
  add("1", "b", 12);
  add("2", "a", 12);
  add("3", "a", 10);
  add("4", "a", 12);
  const auto rows = store_->read_now([](StoreReader& reader) { return reader.charges(10); });
  ASSERT_TRUE(rows) << rows.error().message;
  EXPECT_EQ(*rows, (std::vector<StoredCharge>{{"a", 10, 107}, {"a", 12, 214}, {"b", 12, 107}}));
  EXPECT_EQ(job("open")->key_id, "a");
}

TEST_P(StoreSuite, DecisionsOfAJobKeepTheirOrder) {
  const StoredDecision first{.job_id = {"1"}, .attempt = 0, .at_ms = 5, .json = "{}"};
  const StoredDecision second{.job_id = {"1"}, .attempt = 1, .at_ms = 4, .json = "[1]"};
  ASSERT_TRUE(put(AppendDecision{first}) && put(AppendDecision{StoredDecision{.job_id = {"2"}}}));
  ASSERT_TRUE(put(AppendDecision{second}));
  const auto of = [&](const char* id) {
    return *store_->read_now([=](StoreReader& reader) { return reader.decisions({id}); });
  };
  EXPECT_EQ(of("1"), (std::vector{first, second}));
  EXPECT_TRUE(of("3").empty());
}

TEST_P(StoreSuite, TheNewestDecisionsAreReadInPages) {
  for (const auto& [id, at_ms] : {std::pair{"a", 10}, {"b", 30}, {"c", 20}, {"d", 40}}) {
    ASSERT_TRUE(put(AppendDecision{StoredDecision{.job_id = {id}, .at_ms = at_ms}}));
  }
  const auto span = [&](std::int64_t since_ms, std::int64_t count_max) {
    return *store_->read_now(
        [=](StoreReader& reader) { return reader.newest_decisions(since_ms, count_max); });
  };
  const auto ids = [&](std::int64_t row, std::int64_t count_max) {
    std::string found;
    const auto page = *store_->read_now(
        [=](StoreReader& reader) { return reader.decisions_from(row, count_max); });
    for (const auto& each : page) found += each.decision.job_id.value;
    return found;
  };
  EXPECT_EQ(span(15, 100).count, 3);
  EXPECT_EQ(ids(span(15, 100).first_row, 100), "bcd");
  EXPECT_EQ(span(0, 2).count, 4);
  EXPECT_EQ(ids(span(0, 2).first_row, 100), "bcd");  // c was made before b, by its clock
  EXPECT_EQ(ids(span(0, 4).first_row, 2), "ab");
  EXPECT_EQ(span(50, 100).count, 0);
}

TEST_P(StoreSuite, OnlySoManyDecisionsStay) {
  for (int n = 0; n < 2'500; ++n) {
    ASSERT_TRUE(
        store_->write(AppendDecision{StoredDecision{.job_id = {std::to_string(n)}, .at_ms = 100}}));
  }
  ASSERT_TRUE(put(DeleteOlder{.before_ms = 100, .decisions_max = 3}));
  const auto left =
      *store_->read_now([](StoreReader& reader) { return reader.decisions_from(0, 100); });
  ASSERT_EQ(left.size(), 3u);
  EXPECT_EQ(left[0].decision.job_id.value, "2497");
}

TEST_P(StoreSuite, FoldedFramesComeBackAndTheNewestStay) {
  ASSERT_TRUE(put(InsertJob{a_job("1")}) && put(InsertJob{a_job("2")}) && end("1", 5));
  const std::vector<LoggedFrame> frames = {{2, "a"}, {7, std::string("\0\n", 2)}, {8, ""}};
  ASSERT_TRUE(put(FoldFrames{{"1"}, "old"}) && put(FoldFrames{{"1"}, encode_frames(frames)}));
  const auto of = [&](const char* id) {
    return *store_->read_now([=](StoreReader& reader) { return reader.frames({id}); });
  };
  EXPECT_EQ(decode_frames(of("1").value()), frames);
  EXPECT_EQ(of("2"), std::nullopt);
  EXPECT_EQ(of("3"), std::nullopt);
}

TEST_P(StoreSuite, WhatIsOldIsDeletedAndWhatIsOpenStays) {
  const std::size_t count = limits::store_retention_jobs * 2 + 50;
  for (std::size_t n = 0; n < count; ++n) {
    const std::string id = std::to_string(n);
    ASSERT_TRUE(store_->write(InsertJob{a_job(id, 1)}));
    ASSERT_TRUE(store_->write(FoldFrames{{id}, "x"}));
    ASSERT_TRUE(
        store_->write(UpdateJob{.job_id = {id}, .status = Status::completed, .ended_at_ms = 99}));
    for (int more = 0; more < 6; ++more) {
      ASSERT_TRUE(store_->write(AppendDecision{StoredDecision{.job_id = {id}, .at_ms = 99}}));
    }
  }
  ASSERT_TRUE(put(InsertJob{a_job("open", 1)}) && put(InsertJob{a_job("new", 1)}));
  ASSERT_TRUE(end("new", 100));
  ASSERT_TRUE(put(AppendDecision{StoredDecision{.job_id = {"new"}, .at_ms = 100}}));
  ASSERT_TRUE(put(DeleteOlder{100}));
  EXPECT_EQ(listed({}), (std::vector<std::string>{"open", "new"}));
  const auto left = [&](const std::string& id) {
    return *store_->read_now([&](StoreReader& reader) -> Result<std::size_t> {
      return reader.decisions({id})->size() + (reader.frames({id})->has_value() ? 1 : 0);
    });
  };
  EXPECT_EQ(left("0"), 0u);
  EXPECT_EQ(left(std::to_string(count - 1)), 0u);
  EXPECT_EQ(left("new"), 1u);
}

INSTANTIATE_TEST_SUITE_P(Backends, StoreSuite, testing::Values(Backend::sqlite, Backend::memory),
                         [](const auto& backend) {
                           return backend.param == Backend::sqlite ? "Sqlite" : "Memory";
                         });

TEST(StoredNames, AreThoseOfTheWireBothWays) {
  EXPECT_EQ(wire_name(StoredJob::Status::dispatched), "dispatched");
  EXPECT_EQ(from_wire_name<StoredJob::Status>("cancelled"), StoredJob::Status::cancelled);
  EXPECT_EQ(from_wire_name<StoredJob::Route>("chat"), StoredJob::Route::chat);
  EXPECT_EQ(from_wire_name<StoredWorker::Status>("dead"), StoredWorker::Status::dead);
  EXPECT_EQ(from_wire_name<StoredKey::Role>("admin"), StoredKey::Role::admin);
  EXPECT_EQ(from_wire_name<StoredKey::Role>("root"), std::nullopt);
}

}  // namespace
}  // namespace llorch
