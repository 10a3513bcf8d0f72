#include "protocol/worker_api.h"

#include <cmath>
#include <gtest/gtest.h>
#include <string>

#include "protocol/json_parse.h"

namespace llorch {
namespace {

Registration a_worker() {
  return {.worker_id = "worker-cpu-abc123",
          .host = "10.0.0.2",
          .port = 8001,
          .pool_host = "box",
          .model = "smollm2",
          .backend = "cpu",
          .gpu_id = -1,
          .slots_total = 4,
          .context_tokens = 2048,
          .tokenizer_hash = "0123456789abcdef",
          .memory_bytes = 123,
          .capabilities = {"chat", "tools"},
          .version = "0.1.0",
          .instance_id = "i1"};
}

// clause: W-43
TEST(Registration, IsDecodedToWhatItWas) {
  auto worker = a_worker();
  EXPECT_EQ(decode_registration(encode(worker)), worker);
  worker.gpu_id = 2;
  EXPECT_EQ(decode_registration(encode(worker)), worker);
}

TEST(Registration, IgnoresUnknownFieldsAndListsWhatIsMissing) {
  std::string body = encode(a_worker());
  body.insert(1, R"("later":{"x":[1]},)");
  EXPECT_EQ(decode_registration(body), a_worker());
  const auto got = decode_registration(R"({"port":70000,"slots_total":0})");
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().violations.size(), 6U);
}

Heartbeat a_beat() {
  Heartbeat beat;
  beat.slots_busy = 1;
  beat.queue_depth = 2;
  beat.jobs = {{"j\"1", 3, 4}, {"j2", 0, 0}};
  beat.prefill_tokens_per_second = 512.5;
  beat.decode_tokens_per_second = 0.1;
  beat.memory_free_bytes = 1LL << 40;
  beat.cache_version = 7;
  beat.cache_added = {0, 0xFFFFFFFFFFFFFFFF, 0x0123456789ABCDEF};
  beat.cache_removed = {1};
  return beat;
}

// clause: W-44
TEST(Heartbeat, IsDecodedToWhatItWas) {
  EXPECT_EQ(decode_heartbeat(encode(a_beat())), a_beat());
  EXPECT_EQ(decode_heartbeat("{}"), Heartbeat{});
}

TEST(Heartbeat, RefusesBrokenParts) {
  for (const char* const body :
       {R"({"jobs":[1]})", R"({"jobs":[{}]})", R"({"cache":{"added":[1]}})",
        R"({"cache":{"added":["xyz"]}})", R"({"slots_busy":-1})", "[]"}) {
    SCOPED_TRACE(body);
    EXPECT_FALSE(decode_heartbeat(body).has_value());
  }
  auto beat = a_beat();
  beat.cache_added.assign(limits::heartbeat_cache_entries_max + 1, 5);
  EXPECT_FALSE(decode_heartbeat(encode(beat)).has_value());
}

// clause: W-44
TEST(HeartbeatReply, AsksForAResyncOrNothing) {
  EXPECT_EQ(decode_heartbeat_resync(encode_heartbeat_reply(true)), true);
  EXPECT_EQ(decode_heartbeat_resync(encode_heartbeat_reply(false)), false);
  EXPECT_EQ(decode_heartbeat_resync(""), false);
  EXPECT_FALSE(decode_heartbeat_resync("no").has_value());
}

// clause: W-12
TEST(Cancel, NamesOneJob) {
  EXPECT_EQ(decode_cancel(encode_cancel({"j\n1"})).has_value(), false) << "no control characters";
  EXPECT_EQ(decode_cancel(R"({"job_id":"j1"})"), JobId{"j1"});
  EXPECT_EQ(encode_cancelled({"j1"}), R"({"status":"cancelled","job_id":"j1"})");
  for (const char* const body :
       {"", "{}", R"({"job_id":""})", R"({"job_id":1})", R"({"job_id":"j","force":true})"}) {
    SCOPED_TRACE(body);
    EXPECT_FALSE(decode_cancel(body).has_value());
  }
}

// clause: W-8
TEST(Health, SaysTheContractsFields) {
  const Health health{.status = Health::Status::draining,
                      .state = Health::State::busy,
                      .worker_id = "w",
                      .model = "m",
                      .backend = "cpu",
                      .slots_total = 4,
                      .slots_busy = 1,
                      .queue_depth = 2,
                      .memory_bytes = 3,
                      .context_tokens = 5,
                      .uptime_seconds = 6};
  EXPECT_EQ(encode(health),
            R"({"status":"draining","state":"busy","worker_id":"w","model":"m","backend":"cpu",)"
            R"("slots_total":4,"slots_busy":1,"queue_depth":2,"memory_bytes":3,)"
            R"("context_tokens":5,"uptime_seconds":6})");
  const auto back = decode_health(encode(health));
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(encode(*back), encode(health));
  EXPECT_FALSE(decode_health(R"({"status":"fine","state":"idle"})").has_value());
}

// clause: W-9
TEST(Readiness, CarriesTheLoadProgress) {
  EXPECT_EQ(encode(Readiness{.ready = false, .state = "loading", .progress = 0.5}),
            R"({"ready":false,"state":"loading","progress":0.5})");
  const auto back = decode_readiness(R"({"ready":true,"state":"ready","progress":1})");
  ASSERT_TRUE(back.has_value());
  EXPECT_TRUE(back->ready);
  EXPECT_EQ(back->progress, 1);
}

TEST(Models, AreListedAsOpenAiDoes) {
  ModelEntry model;
  model.id = "m";
  model.created = 9;
  model.context_tokens = 2048;
  const auto body = parse_json_object(encode_models({&model, 1}));
  ASSERT_TRUE(body.has_value());
  EXPECT_EQ(body->at("object").as_string(), "list");
  const auto& entry = body->at("data").at(0);
  EXPECT_EQ(entry.at("id").as_string(), "m");
  EXPECT_EQ(entry.at("object").as_string(), "model");
  EXPECT_EQ(entry.at("created").as_int64(), 9);
  EXPECT_EQ(entry.at("owned_by").as_string(), "llorch");
  EXPECT_EQ(entry.at("meta").at("n_ctx").as_int64(), 2048);
  EXPECT_FALSE(entry.at("meta").as_object().contains("optimized"));
}

// clause: W-49
TEST(Models, NameALossyLayoutWithItsFigures) {
  ModelEntry model;
  model.id = "m";
  model.quantization = "Q8_0";
  model.optimized = LossyLayout{.type = "Q8_0", .from = "Q4_1"};
  const auto moved = parse_json_object(encode_model(model));
  ASSERT_TRUE(moved.has_value());
  EXPECT_EQ(moved->at("meta").at("quantization").as_string(), "Q8_0");
  EXPECT_EQ(moved->at("meta").at("optimized").at("from").as_string(), "Q4_1");
  EXPECT_FALSE(moved->at("meta").at("optimized").as_object().contains("perplexity"));
  model.optimized->perplexity = 20.25;
  model.optimized->rise_percent = 0.125;
  model.optimized->tokens = 24'064;
  const auto measured = parse_json_object(encode_model(model));
  ASSERT_TRUE(measured.has_value());
  const auto& optimized = measured->at("meta").at("optimized");
  EXPECT_EQ(optimized.at("perplexity").as_double(), 20.25);
  EXPECT_EQ(optimized.at("rise_percent").as_double(), 0.125);
  EXPECT_EQ(optimized.at("tokens").as_int64(), 24'064);
}

// clause: W-37
TEST(Embeddings, ComeAsFloatsOrBase64) {
  const std::vector<std::vector<float>> vectors = {{1.0F, -0.5F}, {0.1F, 0.0F}};
  const auto floats = parse_json_object(encode_embeddings(vectors, false, "m", 6));
  ASSERT_TRUE(floats.has_value());
  EXPECT_EQ(floats->at("data").at(0).at("embedding").at(1).to_number<double>(), -0.5);
  EXPECT_EQ(floats->at("data").at(1).at("index").as_int64(), 1);
  EXPECT_EQ(floats->at("usage").at("total_tokens").as_int64(), 6);
  const auto packed = parse_json_object(encode_embeddings(vectors, true, "m", 6));
  ASSERT_TRUE(packed.has_value());
  EXPECT_EQ(packed->at("data").at(0).at("embedding").as_string(), "AACAPwAAAL8=");
  const std::vector<std::vector<float>> odd = {{std::nanf("")}};
  EXPECT_TRUE(parse_json_object(encode_embeddings(odd, false, "m", 1)).has_value());
}

TEST(Registration, KnowsAWildcardHoweverItIsSpelled) {
  for (const char* host : {"0.0.0.0", "0", "::", "[::]"}) EXPECT_TRUE(is_wildcard(host)) << host;
  for (const char* host : {"127.0.0.1", "::1", "box", ""}) EXPECT_FALSE(is_wildcard(host)) << host;
}

TEST(Tokenized, NamesPiecesThatAreTextAndBytesOfTheRest) {
  const std::vector<Token> tokens = {1, 2};
  const std::vector<std::string> pieces = {"a", "\xC3"};
  EXPECT_EQ(encode_tokenized(tokens, {}, 64), R"({"tokens":[1,2],"count":2,"max_model_len":64})");
  EXPECT_EQ(
      encode_tokenized(tokens, pieces, 64),
      R"({"tokens":[{"id":1,"piece":"a"},{"id":2,"piece":[195]}],"count":2,"max_model_len":64})");
  EXPECT_EQ(encode_detokenized("a\""), R"({"content":"a\"","prompt":"a\""})");
}

}  // namespace
}  // namespace llorch
