// A worker's life beside its jobs: registration and heartbeats against a fake orchestrator, drain.
#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <condition_variable>
#include <functional>
#include <gtest/gtest.h>
#include <mutex>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "fakes/test_worker.h"
#include "net/server.h"
#include "protocol/worker_api.h"

namespace llorch {
namespace {

namespace json = boost::json;

// Records what a worker sends and answers as told.
class FakeOrchestrator {
 public:
  explicit FakeOrchestrator(std::uint16_t port = 0)
      : server_(io_, options(port), [this](net::Exchange& exchange) { return answer(exchange); }) {
    const auto bound = server_.listen();
    EXPECT_TRUE(bound);
    port_ = bound.value_or(0);
    thread_ = std::thread([this] { io_.run(); });
  }
  ~FakeOrchestrator() {
    boost::asio::post(io_, [this] { server_.terminate(); });
    thread_.join();
  }

  std::uint16_t port() const { return port_; }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  void answer_next_beat(unsigned status, std::string body) {
    const std::lock_guard lock(mutex_);
    next_beat_ = {status, {}, std::move(body)};
  }
  void refuse_registrations(std::size_t count) {
    const std::lock_guard lock(mutex_);
    refusals_ = count;
  }
  // The `n`th request (from 1) of that method and path; gives up after 20 s.
  net::HttpRequest wait_for(std::string_view method, std::string_view path, std::size_t n = 1) {
    std::unique_lock lock(mutex_);
    const net::HttpRequest* found = nullptr;
    const auto arrived = [&] {
      std::size_t count = 0;
      for (const auto& one : requests_) {
        if (one.method == method && one.path == path && ++count == n) found = &one;
      }
      return found != nullptr;
    };
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20), arrived)) << path;
    return found ? *found : net::HttpRequest{};
  }
  std::size_t count(std::string_view path) {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(
        std::ranges::count_if(requests_, [&](const auto& one) { return one.path == path; }));
  }

 private:
  static net::ServerOptions options(std::uint16_t port) {
    net::ServerOptions options;
    options.port = port;
    return options;
  }
  Task<void> answer(net::Exchange& exchange) {
    net::HttpResponse response{.status = 200, .headers = {}, .body = "{}"};
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(exchange.request());
      if (refusals_ > 0 && exchange.request().path == "/workers/register") {
        response.status = 503;
        --refusals_;
      }
      if (next_beat_ && exchange.request().path.ends_with("/heartbeat")) {
        response = std::move(*next_beat_);
        next_beat_.reset();
      }
    }
    changed_.notify_all();
    const auto sent = co_await exchange.reply(std::move(response));
    static_cast<void>(sent);
  }

  boost::asio::io_context io_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<net::HttpRequest> requests_;
  std::optional<net::HttpResponse> next_beat_;
  std::size_t refusals_ = 0;
  net::HttpServer server_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

constexpr std::string_view register_path = "/workers/register";
constexpr std::string_view beat_path = "/workers/worker-fake-000001/heartbeat";
constexpr std::string_view worker_path = "/v2/workers/worker-fake-000001";

WorkerOptions options_for(const std::string& url) {
  auto options = TestWorker::default_options();
  options.orchestrator_url = url;
  options.api_token = "orchestrator-key-1";
  return options;
}

std::string execute_body(const std::string& id, const std::string& prompt, int max_tokens) {
  return R"({"job_id":")" + id + R"(","prompt":")" + prompt + R"(","temperature":0,"max_tokens":)" +
         std::to_string(max_tokens) + "}";
}

// clause: W-43
TEST(Registration, SaysWhatTheWorkerIsOnceItsModelIsLoaded) {
  FakeOrchestrator orchestrator;
  {
    TestWorker worker({.slots = 3, .context_tokens = 100}, options_for(orchestrator.url() + "/"));
    const auto request = orchestrator.wait_for("POST", register_path);
    EXPECT_EQ(request.headers.find("Authorization"), "Bearer orchestrator-key-1");
    const auto sent = decode_registration(request.body);
    ASSERT_TRUE(sent);
    EXPECT_EQ(sent->worker_id, "worker-fake-000001");
    EXPECT_EQ(sent->host, "127.0.0.1");
    EXPECT_EQ(sent->port, worker.port());
    EXPECT_EQ(sent->pool_host, "box");
    EXPECT_EQ(sent->model, "fake");
    EXPECT_EQ(sent->backend, "cpu");
    EXPECT_EQ(sent->slots_total, 3);
    EXPECT_EQ(sent->context_tokens, 100);
    EXPECT_EQ(sent->tokenizer_hash, "00000000000000fa");
    EXPECT_EQ(sent->instance_id.size(), 36U);
    EXPECT_FALSE(sent->capabilities.empty());
  }
  orchestrator.wait_for("DELETE", worker_path);  // contract: §2 deregister
}

// clause: W-44
TEST(Registration, BeatsWithItsJobsAndTheNewCacheEntriesOnly) {
  FakeOrchestrator orchestrator;
  TestWorker worker({.held = true}, options_for(orchestrator.url()));
  const std::string prompt(600, 'p');
  BlockingClient client(worker.port());
  client.send("POST", "/execute", execute_body("j", prompt, 2));
  ASSERT_TRUE(worker.engine().wait_until([](const auto& load) { return load.slots_busy == 1; }));
  std::optional<Heartbeat> busy;
  for (std::size_t n = 1; n <= 10 && (!busy || busy->jobs.empty()); ++n) {
    const auto beat = decode_heartbeat(orchestrator.wait_for("POST", beat_path, n).body);
    ASSERT_TRUE(beat);
    busy = *beat;
  }
  ASSERT_EQ(busy->jobs.size(), 1U);
  EXPECT_EQ(busy->jobs[0].job_id, "j");
  EXPECT_EQ(busy->slots_busy, 1);
  EXPECT_TRUE(busy->cache_added.empty());
  worker.engine().release();
  EXPECT_EQ(client.read_reply().status, 200U);
  const auto after = orchestrator.count(beat_path);
  // The one under way may have been taken before the job ended.
  std::size_t added = 0;
  for (std::size_t n = after + 1; n <= after + 3; ++n) {
    added += decode_heartbeat(orchestrator.wait_for("POST", beat_path, n).body)->cache_added.size();
  }
  EXPECT_EQ(added, 2U) << "600 bytes are two full blocks, told once";

  orchestrator.answer_next_beat(200, R"({"resync":true})");
  const auto before = orchestrator.count(beat_path);
  std::size_t again = 0;
  for (std::size_t n = before + 1; n <= before + 3; ++n) {
    again += decode_heartbeat(orchestrator.wait_for("POST", beat_path, n).body)->cache_added.size();
  }
  EXPECT_EQ(again, 2U) << "resync: all of them once more";
}

// clause: W-44
TEST(Registration, RegistersAgainWhenForgotten) {
  FakeOrchestrator orchestrator;
  TestWorker worker(FakeEngineOptions{}, options_for(orchestrator.url()));
  orchestrator.wait_for("POST", register_path);
  orchestrator.answer_next_beat(404, "{}");
  const auto again = orchestrator.wait_for("POST", register_path, 2);
  EXPECT_TRUE(decode_registration(again.body));
}

// clause: W-45
TEST(Registration, WaitsForAnOrchestratorThatIsNotThereAndOutlivesItsRestart) {
  std::uint16_t port = 0;
  {
    FakeOrchestrator gone;  // its port is free again afterwards
    port = gone.port();
  }
  TestWorker worker(FakeEngineOptions{}, options_for("http://127.0.0.1:" + std::to_string(port)));
  EXPECT_EQ(worker.ask("GET", "/health").status, 200U);
  for (int round = 0; round < 2; ++round) {
    SCOPED_TRACE(round);
    FakeOrchestrator orchestrator(port);
    if (round > 0) orchestrator.answer_next_beat(404, "{}");  // it knows no worker yet
    orchestrator.wait_for("POST", register_path);
    orchestrator.wait_for("POST", beat_path);
  }
}

// An orchestrator that stayed away was a line in the log for every try.
// clause: W-45
TEST(Registration, LogsOnceThatTheOrchestratorFailsAndOnceThatItAnswers) {
  FakeOrchestrator orchestrator;
  orchestrator.refuse_registrations(2);
  testing::internal::CaptureStderr();
  {
    TestWorker worker(FakeEngineOptions{}, options_for(orchestrator.url()));
    orchestrator.wait_for("POST", beat_path);
  }
  const auto log = testing::internal::GetCapturedStderr();
  EXPECT_EQ(orchestrator.count(register_path), 3U);
  for (const std::string event : {"orchestrator_fails", "orchestrator_answers"}) {
    const auto first = log.find("\"" + event + "\"");
    EXPECT_NE(first, std::string::npos) << event;
    EXPECT_EQ(log.find("\"" + event + "\"", first + 1), std::string::npos) << event;
  }
  EXPECT_TRUE(log.contains("\"template_source\":\"gguf\"")) << "of the ready event";
}

// clause: W-11, W-42, W-45
TEST(Drain, FinishesRunningJobsAndRefusesNewOnes) {
  FakeOrchestrator orchestrator;
  TestWorker worker({.held = true}, options_for(orchestrator.url()));
  orchestrator.wait_for("POST", register_path);
  BlockingClient running(worker.port());
  running.send("POST", "/execute", execute_body("j", "Hi", 3));
  ASSERT_TRUE(worker.engine().wait_until([](const auto& load) { return load.slots_busy == 1; }));
  EXPECT_EQ(worker.ask("POST", "/shutdown").status, 202U);
  const auto refused = worker.ask("POST", "/execute", execute_body("k", "Hi", 3));
  EXPECT_EQ(refused.status, 503U);
  EXPECT_NE(refused.body.find("\"DRAINING\""), std::string::npos);
  EXPECT_EQ(decode_health(worker.ask("GET", "/health").body)->status, Health::Status::draining);
  EXPECT_EQ(worker.ask("GET", "/ready").status, 503U);
  worker.engine().release();
  const auto reply = running.read_reply();
  EXPECT_TRUE(reply.complete);
  EXPECT_NE(reply.body.find(R"("stop_reason":"MAX_TOKENS")"), std::string::npos);
  EXPECT_TRUE(worker.join());
  orchestrator.wait_for("DELETE", worker_path);
}

// clause: W-42
TEST(Drain, EndsWhatTheLimitCutsOffWithARetriableError) {
  auto options = TestWorker::default_options();
  options.drain_ms = 50;
  TestWorker worker({.slots = 1, .held = true}, options);
  BlockingClient running(worker.port());
  running.send("POST", "/execute", execute_body("a", "Hi", 3));
  ASSERT_TRUE(worker.engine().wait_until([](const auto& load) { return load.slots_busy == 1; }));
  worker.engine().allow(2);
  auto started = running.read_head();
  ASSERT_TRUE(running.read_until(started, "event: started"));
  BlockingClient queued(worker.port());
  queued.send("POST", "/execute", execute_body("b", "Hi", 3));
  ASSERT_TRUE(worker.engine().wait_until([](const auto& load) { return load.queue_depth == 1; }));
  worker.begin_drain();
  running.read_rest(started);
  EXPECT_TRUE(started.complete);
  EXPECT_NE(started.body.find("event: error"), std::string::npos);
  EXPECT_NE(started.body.find(R"("code":"DRAINING")"), std::string::npos);
  EXPECT_NE(started.body.find(R"("retriable":true)"), std::string::npos);
  EXPECT_EQ(queued.read_reply().status, 503U);
  EXPECT_TRUE(worker.join());
}

// promise: R5
TEST(Drain, LosesNoStreamOfMany) {
  auto options = TestWorker::default_options();
  options.queue = 256;
  TestWorker worker({.slots = 64, .held = true}, options);
  constexpr int streams = 200;
  std::vector<std::unique_ptr<BlockingClient>> clients;
  for (int i = 0; i < streams; ++i) {
    clients.push_back(std::make_unique<BlockingClient>(worker.port()));
    clients.back()->send("POST", "/execute", execute_body("j" + std::to_string(i), "Hi", 20));
  }
  ASSERT_TRUE(worker.engine().wait_until(
      [](const auto& load) { return load.slots_busy + load.queue_depth == streams; }));
  worker.begin_drain();
  worker.engine().release();
  int finished = 0;
  for (const auto& client : clients) {
    const auto reply = client->read_reply();
    if (reply.body.find(R"("stop_reason":"MAX_TOKENS")") != std::string::npos) ++finished;
  }
  EXPECT_EQ(finished, streams);
  EXPECT_TRUE(worker.join());
}

// clause: W-8
TEST(Health, AnswersWhileStreamsRunAndTheEngineIsBusy) {
  auto options = TestWorker::default_options();
  options.queue = 64;
  TestWorker worker({.slots = 8, .step = std::chrono::milliseconds(1)}, options);
  std::vector<std::unique_ptr<BlockingClient>> clients;
  for (int i = 0; i < 32; ++i) {
    clients.push_back(std::make_unique<BlockingClient>(worker.port()));
    clients.back()->send("POST", "/execute", execute_body("j" + std::to_string(i), "Hi", 4000));
  }
  ASSERT_TRUE(worker.engine().wait_until([](const auto& load) { return load.slots_busy == 8; }));
  BlockingClient prober(worker.port());
  std::vector<double> took_ms;
  for (int i = 0; i < 200; ++i) {
    const auto begun = std::chrono::steady_clock::now();
    prober.send("GET", "/health");
    EXPECT_EQ(prober.read_reply().status, 200U);
    took_ms.push_back(elapsed_ms(begun, std::chrono::steady_clock::now()));
  }
  std::ranges::sort(took_ms);
  RecordProperty("p50_us", static_cast<int>(took_ms[100] * 1'000));
  RecordProperty("p99_us", static_cast<int>(took_ms[198] * 1'000));
  EXPECT_LT(took_ms[100], 100.0) << "a wide bound: machines under test are loaded";
}

}  // namespace
}  // namespace llorch
