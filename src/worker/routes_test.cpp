// Every route of a running worker over the fake engine: its reply and each error it documents.
#include <boost/json.hpp>
#include <gtest/gtest.h>
#include <set>
#include <vector>

#include "api/refusal.h"
#include "fakes/test_worker.h"
#include "protocol/worker_api.h"
#include "worker/route_table.h"

namespace llorch {
namespace {

namespace json = boost::json;

std::string execute_body(const std::string& id, int max_tokens = 3, const char* more = "") {
  return R"({"job_id":")" + id + R"(","prompt":"Hi","temperature":0,"seed":42,"max_tokens":)" +
         std::to_string(max_tokens) + more + "}";
}

// The code of an error in our shape.
std::string error_code(const BlockingReply& reply) {
  const auto body = json::parse(reply.body);
  return std::string(body.at("error").at("code").as_string());
}

// clause: W-8
TEST(WorkerRoutes, HealthSaysWhoServesWhatAndHowBusy) {
  TestWorker worker({.slots = 2, .context_tokens = 100, .held = true});
  const auto reply = worker.ask("GET", "/health");
  EXPECT_EQ(reply.status, 200U);
  EXPECT_EQ(reply.headers.at("content-type"), "application/json");
  auto health = decode_health(reply.body);
  ASSERT_TRUE(health);
  EXPECT_EQ(health->status, Health::Status::healthy);
  EXPECT_EQ(health->state, Health::State::idle);
  EXPECT_EQ(health->worker_id, "worker-fake-000001");
  EXPECT_EQ(health->model, "fake");
  EXPECT_EQ(health->backend, "cpu");
  EXPECT_EQ(health->slots_total, 2);
  EXPECT_EQ(health->context_tokens, 100);

  std::vector<std::unique_ptr<BlockingClient>> clients;
  for (const char* id : {"a", "b", "c"}) {
    clients.push_back(std::make_unique<BlockingClient>(worker.port()));
    clients.back()->send("POST", "/execute", execute_body(id));
  }
  ASSERT_TRUE(worker.engine().wait_until(
      [](const EngineLoad& load) { return load.slots_busy == 2 && load.queue_depth == 1; }));
  health = decode_health(worker.ask("GET", "/health").body);
  ASSERT_TRUE(health);
  EXPECT_EQ(health->state, Health::State::busy);
  EXPECT_EQ(health->slots_busy, 2);
  EXPECT_EQ(health->queue_depth, 1);
}

// A refused request or a cancel between two failures set the count back.
// clause: W-8
TEST(WorkerRoutes, HealthCountsFailuresOfTheEngineUntilAJobSucceeds) {
  TestWorker worker;
  const Failed lost{{Code::backend_error, "the device is lost"}};
  const Failed refused{{Code::invalid_request, "the grammar is wrong"}};
  const Ended cancelled{.reason = StopReason::CANCELLED};
  const auto status_after = [&](const JobEvent& end) {
    worker.engine().script_next({end});
    worker.ask("POST", "/execute", execute_body("j"));
    return decode_health(worker.ask("GET", "/health").body)->status;
  };
  using enum Health::Status;
  const std::vector<std::pair<JobEvent, Health::Status>> ends = {
      {lost, healthy},        {refused, healthy}, {lost, healthy},
      {cancelled, healthy},   {lost, unhealthy},  {refused, unhealthy},
      {cancelled, unhealthy}, {Ended{}, healthy}, {lost, healthy}};
  for (std::size_t n = 0; n < ends.size(); ++n) {
    EXPECT_EQ(status_after(ends[n].first), ends[n].second) << n;
  }
}

// clause: W-9, W-17
TEST(WorkerRoutes, AnswerWhileTheModelLoads) {
  TestWorker worker(TestWorker::Loading{});
  worker.report_progress(0.25);
  auto ready = worker.ask("GET", "/ready");
  EXPECT_EQ(ready.status, 503U);
  EXPECT_EQ(json::parse(ready.body).at("state").as_string(), "loading");
  EXPECT_DOUBLE_EQ(decode_readiness(ready.body)->progress, 0.25);
  EXPECT_EQ(decode_health(worker.ask("GET", "/health").body)->state, Health::State::loading);
  EXPECT_EQ(worker.ask("GET", "/metrics").status, 200U);
  for (const char* path : {"/execute", "/v1/chat/completions", "/v1/embeddings", "/tokenize"}) {
    SCOPED_TRACE(path);
    const auto refused = worker.ask("POST", path, "{}");
    EXPECT_EQ(refused.status, 503U);
    EXPECT_NE(refused.body.find(is_openai_path(path) ? "still loading" : "\"DRAINING\""),
              std::string::npos);
    EXPECT_EQ(refused.headers.at("retry-after"), "1");
  }
  EXPECT_EQ(worker.ask("POST", "/cancel", R"({"job_id":"x"})").status, 404U);
  worker.finish_loading();
  ready = worker.ask("GET", "/ready");
  EXPECT_EQ(ready.status, 200U);
  EXPECT_TRUE(decode_readiness(ready.body)->ready);
}

// clause: W-5
TEST(Worker, EndsWithTheLoadersError) {
  TestWorker worker(TestWorker::Loading{});
  worker.finish_loading(fail(Code::backend_error, "cuda: not in this build", "rebuild"));
  const auto ended = worker.join();
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code, Code::backend_error);
  EXPECT_EQ(ended.error().next, "rebuild");
}

// clause: E-3
TEST(WorkerRoutes, ExecuteListsEveryViolationAndNeverThePrompt) {
  TestWorker worker;
  const auto reply = worker.ask("POST", "/execute",
                                R"({"prompt":"a canary","temperature":3,"top_p":2,"nonsense":1})");
  EXPECT_EQ(reply.status, 400U);
  EXPECT_EQ(error_code(reply), "INVALID_REQUEST");
  const auto body = json::parse(reply.body);
  std::set<std::string> fields;
  for (const auto& one : body.at("errors").as_array()) {
    fields.emplace(one.at("field").as_string());
  }
  EXPECT_EQ(fields, (std::set<std::string>{"job_id", "temperature", "top_p", "nonsense"}));
  EXPECT_EQ(reply.body.find("canary"), std::string::npos);
  EXPECT_EQ(worker.ask("POST", "/execute", "{not json").status, 400U);
}

// clause: W-18
TEST(WorkerRoutes, ATooLongPromptKeepsItsStatus) {
  TestWorker worker({.context_tokens = 8});
  const auto body = R"({"job_id":"long","prompt":"more than eight bytes"})";
  const auto ours = worker.ask("POST", "/execute", body);
  EXPECT_EQ(ours.status, 400U);
  EXPECT_EQ(error_code(ours), "CONTEXT_LENGTH_EXCEEDED");
  const auto openai =
      worker.ask("POST", "/v1/completions", R"({"prompt":"more than eight bytes","stream":true})");
  EXPECT_EQ(openai.status, 400U);
  EXPECT_TRUE(worker.engine().wait_until(idle));
}

// clause: W-16
TEST(WorkerRoutes, ALiveJobIsRefusedAgainAndReplacedByAHigherAttempt) {
  TestWorker worker({.held = true});
  BlockingClient first(worker.port());
  first.send("POST", "/execute", execute_body("j"));
  ASSERT_TRUE(worker.engine().wait_until([](const auto& load) { return load.slots_busy == 1; }));
  const auto again = worker.ask("POST", "/execute", execute_body("j"));
  EXPECT_EQ(again.status, 409U);
  EXPECT_EQ(error_code(again), "CONFLICT");
  BlockingClient second(worker.port());
  second.send("POST", "/execute", execute_body("j", 3, R"(,"attempt":1)"));
  const auto replaced = first.read_reply();
  EXPECT_NE(replaced.body.find(R"("stop_reason":"CANCELLED")"), std::string::npos);
  worker.engine().release();
  EXPECT_NE(second.read_reply().body.find(R"("stop_reason":"MAX_TOKENS")"), std::string::npos);
}

// clause: W-17
TEST(WorkerRoutes, AFullQueueIs429WithRetryAfter) {
  auto options = TestWorker::default_options();
  options.queue = 1;
  TestWorker worker({.slots = 1, .held = true}, options);
  BlockingClient running(worker.port());
  BlockingClient queued(worker.port());
  running.send("POST", "/execute", execute_body("a"));
  ASSERT_TRUE(worker.engine().wait_until([](const auto& load) { return load.slots_busy == 1; }));
  queued.send("POST", "/execute", execute_body("b"));
  ASSERT_TRUE(worker.engine().wait_until([](const auto& load) { return load.queue_depth == 1; }));
  const auto full = worker.ask("POST", "/execute", execute_body("c"));
  EXPECT_EQ(full.status, 429U);
  EXPECT_EQ(error_code(full), "QUEUE_FULL");
  EXPECT_EQ(full.headers.at("retry-after"), "1");
  EXPECT_EQ(full.headers.at("retry-after-ms"), "1000");
  EXPECT_EQ(full.headers.at("x-should-retry"), "true");
  const auto chat =
      worker.ask("POST", "/v1/chat/completions", R"({"messages":[{"role":"user","content":"x"}]})");
  EXPECT_EQ(chat.status, 429U);
  worker.engine().release();
  EXPECT_EQ(running.read_reply().status, 200U);
  EXPECT_EQ(queued.read_reply().status, 200U);
}

// clause: W-12
TEST(WorkerRoutes, CancelIsParsedWhateverTheContentTypeAndIsIdempotent) {
  TestWorker worker({.held = true});
  BlockingClient client(worker.port());
  client.send("POST", "/execute", execute_body("j"));
  ASSERT_TRUE(worker.engine().wait_until([](const auto& load) { return load.slots_busy == 1; }));
  for (int i = 0; i < 2; ++i) {
    const auto reply = worker.ask("POST", "/cancel", R"({"job_id":"j"})",
                                  {{"Content-Type", "application/x-www-form-urlencoded"}});
    EXPECT_EQ(reply.status, 200U);
    EXPECT_EQ(reply.body, R"({"status":"cancelled","job_id":"j"})");
    EXPECT_EQ(reply.headers.at("x-request-id"), "j");
  }
  EXPECT_EQ(client.read_reply().status, 200U);
  const auto unknown = worker.ask("POST", "/cancel", R"({"job_id":"never"})");
  EXPECT_EQ(unknown.status, 404U);
  EXPECT_EQ(error_code(unknown), "JOB_NOT_FOUND");
  EXPECT_EQ(worker.ask("POST", "/cancel", "{}").status, 400U);
  EXPECT_TRUE(worker.engine().wait_until(idle));
}

// clause: W-14, E-2, E-5
TEST(WorkerRoutes, ABodyPastTheLimitIs413) {
  TestWorker worker;
  BlockingClient client(worker.port());
  client.send("POST", "/execute", {}, {{"Transfer-Encoding", "chunked"}});
  client.close();
  const std::string huge(9 << 20, 'x');
  const auto reply = worker.ask("POST", "/v1/completions", huge, {{"X-Correlation-Id", "c1"}});
  EXPECT_EQ(reply.status, 413U);
  EXPECT_EQ(reply.headers.at("x-correlation-id"), "c1");
  EXPECT_EQ(reply.headers.at("x-should-retry"), "false");
  const auto error = json::parse(reply.body).at("error").as_object();
  EXPECT_EQ(error.at("type").as_string(), "invalid_request_error");
  EXPECT_EQ(error.at("code").as_string(), "too_large");
  EXPECT_EQ(error.at("correlation_id").as_string(), "c1");
  EXPECT_EQ(error_code(worker.ask("POST", "/execute", huge)), "TOO_LARGE");
  EXPECT_EQ(worker.ask("GET", "/health").status, 200U);
}

// A large body is decoded on a thread of its own; the reply is the same.
TEST(WorkerRoutes, ALargePromptIsDecodedAndRefusedLikeASmallOne) {
  TestWorker worker;
  const std::string prompt(900 << 10, 'x');
  const auto reply =
      worker.ask("POST", "/execute", R"({"job_id":"big","prompt":")" + prompt + R"("})");
  EXPECT_EQ(reply.status, 400U);
  EXPECT_EQ(error_code(reply), "CONTEXT_LENGTH_EXCEEDED");
}

// clause: W-14
TEST(WorkerRoutes, UnknownPathsNameTheNearestAndWrongMethodsTheRightOne) {
  TestWorker worker;
  const auto near = worker.ask("POST", "/exceute", "{}");
  EXPECT_EQ(near.status, 404U);
  EXPECT_EQ(error_code(near), "NOT_FOUND");
  EXPECT_NE(near.body.find("/execute"), std::string::npos);
  const auto openai = json::parse(worker.ask("GET", "/v1/nothing").body);
  EXPECT_TRUE(openai.at("error").as_object().contains("type"));
  const auto wrong = worker.ask("GET", "/execute");
  EXPECT_EQ(wrong.status, 405U);
  EXPECT_EQ(wrong.headers.at("allow"), "POST");
  EXPECT_EQ(worker.ask("POST", "/health").headers.at("allow"), "GET, HEAD");
}

// clause: W-40, E-3
TEST(WorkerRoutes, ARefusalAtTheFramingNamesHeadOrBody) {
  TestWorker worker;
  // A POST of the test's client has a Content-Length as well.
  for (const auto& [method, field] : {std::pair{"POST", "head"}, std::pair{"PUT", "body"}}) {
    SCOPED_TRACE(field);
    const auto reply =
        worker.ask(method, "/execute", "zz\r\n\r\n", {{"Transfer-Encoding", "chunked"}});
    EXPECT_EQ(reply.status, 400U);
    const auto body = json::parse(reply.body);
    ASSERT_EQ(body.at("errors").as_array().size(), 1U);
    EXPECT_EQ(body.at("errors").at(0).at("field").as_string(), field);
    EXPECT_EQ(body.at("errors").at(0).at("message"), body.at("error").at("message"));
  }
}

// clause: W-31
TEST(WorkerRoutes, ChatAnswersInOpenAisShapeUnderItsOwnModelName) {
  TestWorker worker;
  const auto reply = worker.ask(
      "POST", "/v1/chat/completions",
      R"({"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}],"max_tokens":4})");
  EXPECT_EQ(reply.status, 200U);
  const auto body = json::parse(reply.body);
  EXPECT_EQ(body.at("object").as_string(), "chat.completion");
  EXPECT_EQ(body.at("model").as_string(), "fake");
  const auto& choice = body.at("choices").at(0);
  EXPECT_EQ(choice.at("message").at("content").as_string(), FakeEngine::text_of("Hi", 0, 4));
  EXPECT_EQ(choice.at("finish_reason").as_string(), "length");
  EXPECT_EQ(body.at("usage").at("completion_tokens").to_number<int>(), 4);
  EXPECT_EQ(reply.headers.at("x-request-id"), std::string(body.at("id").as_string()));
}

TEST(WorkerRoutes, CompletionsEchoTheirPromptAndTakeTokenIds) {
  TestWorker worker;
  for (const char* prompt : {R"("Hi")", "[72,105]"}) {
    SCOPED_TRACE(prompt);
    const auto reply =
        worker.ask("POST", "/v1/completions",
                   R"({"echo":true,"max_tokens":3,"prompt":)" + std::string(prompt) + "}");
    ASSERT_EQ(reply.status, 200U) << reply.body;
    EXPECT_EQ(json::parse(reply.body).at("choices").at(0).at("text").as_string(),
              "Hi" + FakeEngine::text_of("Hi", 0, 3));
  }
  const auto refused = worker.ask("POST", "/v1/completions", R"({"echo":true,"prompt":[999]})");
  EXPECT_EQ(refused.status, 400U);
  EXPECT_EQ(json::parse(refused.body).at("errors").at(0).at("field").as_string(), "prompt");
}

// clause: W-13, W-31
TEST(WorkerRoutes, ModelsEmbeddingsAndTokensAnswer) {
  TestWorker worker;
  const auto models = json::parse(worker.ask("GET", "/v1/models").body);
  EXPECT_EQ(models.at("data").at(0).at("id").as_string(), "fake");
  EXPECT_EQ(worker.ask("GET", "/v1/models/fake").status, 200U);
  EXPECT_EQ(worker.ask("GET", "/v1/models/f%61ke").status, 200U);
  const auto other = worker.ask("GET", "/v1/models/other");
  EXPECT_EQ(other.status, 404U);

  const auto embedded = worker.ask("POST", "/v1/embeddings", R"({"model":"m","input":["a","b"]})");
  ASSERT_EQ(embedded.status, 200U) << embedded.body;
  const auto vectors = json::parse(embedded.body);
  EXPECT_EQ(vectors.at("data").as_array().size(), 2U);
  EXPECT_EQ(vectors.at("data").at(0).at("embedding").as_array().size(), 8U);
  EXPECT_EQ(worker.ask("POST", "/v1/embeddings", R"({"input":[]})").status, 400U);
  const auto ids = worker.ask("POST", "/v1/embeddings", R"({"input":[1,2]})");
  EXPECT_EQ(ids.status, 400U);
  EXPECT_NE(ids.body.find("check_embedding_ctx_length=False"), std::string::npos);

  const auto tokens = json::parse(worker.ask("POST", "/tokenize", R"({"content":"Hi"})").body);
  EXPECT_EQ(tokens.at("tokens"), (json::array{72, 105}));
  const auto text = json::parse(worker.ask("POST", "/detokenize", R"({"tokens":[72,105]})").body);
  EXPECT_EQ(text.at("content").as_string(), "Hi");
  EXPECT_EQ(worker.ask("POST", "/detokenize", R"({"tokens":[999]})").status, 400U);
}

// clause: W-37
TEST(WorkerRoutes, AnEmbeddingModelDoesNotGenerate) {
  TestWorker worker({.embeddings_only = true});
  const auto chat =
      worker.ask("POST", "/v1/chat/completions", R"({"messages":[{"role":"user","content":"x"}]})");
  EXPECT_EQ(chat.status, 400U);
  EXPECT_EQ(worker.ask("POST", "/execute", execute_body("j")).status, 400U);
  EXPECT_EQ(worker.ask("POST", "/v1/embeddings", R"({"input":"x"})").status, 200U);
}

// clause: W-10
TEST(WorkerRoutes, MetricsHaveEveryNameAndCountOutcomes) {
  TestWorker worker;
  EXPECT_EQ(worker.ask("POST", "/execute", execute_body("j")).status, 200U);
  EXPECT_EQ(worker.ask("POST", "/execute", "{}").status, 400U);
  EXPECT_EQ(worker.ask("POST", "/v1/chat/completions", "{}").status, 400U);
  const auto reply = worker.ask("GET", "/metrics");
  EXPECT_EQ(reply.headers.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  for (const char* line : {"worker_requests_total{outcome=\"completed\"} 1",
                           "worker_requests_total{outcome=\"failed\"} 0",
                           "worker_requests_total{outcome=\"rejected\"} 2",
                           "worker_tokens_in_total 2",
                           "worker_tokens_generated_total 3",
                           "worker_inference_duration_ms_count 1",
                           "worker_memory_bytes 1048576",
                           "worker_uptime_seconds ",
                           "worker_kv_cells_used 0",
                           "worker_kv_snapshot_bytes 0",
                           "worker_kv_disk_bytes 0",
                           "worker_kv_disk_files 0",
                           "worker_kv_disk_writes_total{outcome=\"written\"} 0",
                           "worker_kv_disk_reads_total 0",
                           "worker_kv_disk_restores_total 0",
                           "worker_kv_disk_rejected_total 0",
                           "worker_prefix_hit_tokens_total 0",
                           "worker_draft_tokens_total 0",
                           "worker_draft_hit_tokens_total 0",
                           "worker_engine_seconds_total{part=\"prefill\"} 0",
                           "worker_engine_seconds_total{part=\"waiting\"} 0"}) {
    EXPECT_NE(reply.body.find(std::string("\n") + line), std::string::npos) << line;
  }
  EXPECT_EQ(reply.body.find("\"j\""), std::string::npos) << "no job ids in labels";
}

// clause: W-6
TEST(WorkerRoutes, TheTokenIsWantedOnEveryRouteButTheProbes) {
  auto options = TestWorker::default_options();
  options.worker_token = "0123456789abcdef";
  TestWorker worker(FakeEngineOptions{}, options);
  for (const auto& route : worker_routes()) {
    SCOPED_TRACE(route.path);
    const auto path = std::string(route.path) + (route.path.ends_with('/') ? "x" : "");
    for (const char* bearer : {"", "Bearer wrong-wrong-wrong"}) {
      BlockingClient::Headers headers;
      if (*bearer) headers.emplace_back("Authorization", bearer);
      const auto refused = worker.ask(route.method, path, "{}", headers);
      EXPECT_EQ(refused.status == 401, !route.open);
      if (refused.status == 401) {
        EXPECT_EQ(json::parse(refused.body).at("error").as_object().contains("type"), route.openai);
      }
    }
    if (route.id == RouteId::shutdown) continue;
    const auto taken =
        worker.ask(route.method, path, "{}", {{"Authorization", "Bearer 0123456789abcdef"}});
    EXPECT_NE(taken.status, 401U);
  }
}

// clause: W-6
TEST(WorkerRoutes, AForeignHostIsRefusedWithoutAToken) {
  TestWorker worker;
  const auto refused =
      worker.ask("POST", "/execute", execute_body("j"), {{"Host", "evil.example"}});
  EXPECT_EQ(refused.status, 403U);
  EXPECT_EQ(error_code(refused), "FORBIDDEN");
  EXPECT_EQ(worker.ask("GET", "/health", {}, {{"Host", "evil.example"}}).status, 200U);
}

// clause: E-5
TEST(WorkerRoutes, TheCorrelationIdIsEchoedAlsoInErrorsAndStreams) {
  TestWorker worker;
  const BlockingClient::Headers headers = {{"X-Correlation-Id", "trace-7"}};
  EXPECT_EQ(worker.ask("GET", "/health", {}, headers).headers.at("x-correlation-id"), "trace-7");
  const auto error = worker.ask("POST", "/execute", "{}", headers);
  EXPECT_EQ(json::parse(error.body).at("error").at("correlation_id").as_string(), "trace-7");
  const auto stream = worker.ask("POST", "/execute", execute_body("j"), headers);
  EXPECT_EQ(stream.headers.at("x-correlation-id"), "trace-7");
  EXPECT_EQ(stream.headers.at("x-request-id"), "j");
  EXPECT_EQ(worker.ask("GET", "/health").headers.at("x-correlation-id").size(), 36U);
}

}  // namespace
}  // namespace llorch
