#include "remote/infer_job.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <csignal>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "net/event.h"
#include "net/server.h"
#include "protocol/error_body.h"
#include "protocol/execute_request.h"
#include "protocol/job_stream.h"
#include "protocol/json_parse.h"
#include "protocol/worker_api.h"

namespace llorch {
namespace {

using Route = std::function<Task<void>(net::Exchange&)>;

// A peer of `llorch infer` on a free port: scripted routes, and a record of what was asked.
struct Peer {
  explicit Peer(asio::io_context& io)
      : server(io, net::ServerOptions{},
               [this](net::Exchange& exchange) { return answer(exchange); }) {
    const auto bound = server.listen();
    EXPECT_TRUE(bound);
    port = bound.value_or(0);
  }

  Task<void> answer(net::Exchange& exchange) {
    const auto& request = exchange.request();
    asked.push_back(request);
    const auto key = request.method + " " + request.path;
    const auto route = routes.find(key);
    if (route != routes.end()) {
      co_await route->second(exchange);
      co_return;
    }
    net::HttpResponse reply;
    reply.status = 404;
    reply.body = error_body({.code = Code::not_found, .message = "no such route"}, "c1");
    const auto sent = co_await exchange.reply(std::move(reply));
    static_cast<void>(sent);
  }

  const net::HttpRequest* find(std::string_view path) const {
    for (const auto& request : asked) {
      if (request.path == path) return &request;
    }
    return nullptr;
  }

  std::map<std::string, Route> routes;
  std::vector<net::HttpRequest> asked;
  net::HttpServer server;
  std::uint16_t port = 0;
};

Task<void> send_reply(net::Exchange& exchange, unsigned status, std::string body) {
  net::HttpResponse reply;
  reply.status = status;
  reply.body = std::move(body);
  const auto sent = co_await exchange.reply(std::move(reply));
  static_cast<void>(sent);
}

Route replies(unsigned status, std::string body) {
  return [status, body = std::move(body)](net::Exchange& exchange) {
    return send_reply(exchange, status, body);
  };
}

// Streams `slices`, then ends cleanly, or leaves the stream open so that the server cuts it.
Task<void> send_stream(net::Exchange& exchange, std::vector<std::string> slices, bool clean) {
  const net::Headers headers{{"Content-Type", "text/event-stream"}};
  const auto begun = co_await exchange.begin_stream(200, headers);
  if (!begun) co_return;
  for (const auto& bytes : slices) {
    const auto sent = co_await exchange.write(bytes);
    if (!sent) co_return;
  }
  if (!clean) co_return;
  const auto ended = co_await exchange.end_stream();
  static_cast<void>(ended);
}

Route streams(std::string bytes, bool clean = true) {
  return [bytes = std::move(bytes), clean](net::Exchange& exchange) {
    return send_stream(exchange, {bytes}, clean);
  };
}

std::string started() {
  std::string out;
  append_started_event(out, {.job_id = "j1", .model = "m", .seed = 1, .prompt_tokens = 3});
  return out;
}

std::string token(std::int64_t index, const std::string& text) {
  std::string out;
  const auto n = std::to_string(index);
  append_sse_frame(out, std::to_string(index + 2) + ":9", "token",
                   R"({"type":"token","t":")" + text + R"(","i":)" + n + R"(,"id":9})");
  return out;
}

std::string end(std::int64_t tokens, const std::string& reason) {
  std::string out;
  append_sse_frame(out, std::to_string(tokens + 2), "end",
                   R"({"type":"end","tokens_out":)" + std::to_string(tokens) +
                       R"(,"stop_reason":")" + reason +
                       R"(","prefill_ms":1.5,"decode_time_ms":100})");
  return out;
}

std::string whole_answer() {
  return started() + token(0, "Hé") + token(1, "llo 🙂") + end(2, "EOS");
}

struct Outcome {
  std::optional<Result<ExitCode>> result;
  std::string out, notes;

  ExitCode code() const {
    if (!result) return exit_failure;
    return *result ? **result : exit_code(result->error().code);
  }
  std::string error() const { return result && !*result ? result->error().message : ""; }
  std::string next() const { return result && !*result ? result->error().next : ""; }
};

class InferJobTest : public testing::Test {
 protected:
  // Runs one job to its end; `ready` may keep the job to interrupt it.
  Outcome run(InferOptions options, bool reader_leaves = false, bool terminal = false) {
    Outcome outcome;
    InferOutput output;
    output.out_is_terminal = output.note_is_terminal = terminal;
    output.out = [&outcome, reader_leaves](std::string_view text) {
      outcome.out += text;
      return !reader_leaves;
    };
    output.note = [&outcome, this](std::string_view text) {
      outcome.notes += text;
      if (text.find("waiting for") != text.npos) waited.ring();
    };
    InferJob running(io, std::move(options), std::move(output), clock);
    job = &running;
    asio::co_spawn(io, running.run(),
                   [&](const std::exception_ptr& thrown, Result<ExitCode> result) {
                     EXPECT_FALSE(thrown);
                     outcome.result = std::move(result);
                     io.stop();
                   });
    io.run_for(std::chrono::seconds{30});
    io.restart();
    job = nullptr;
    EXPECT_TRUE(outcome.result) << "the job did not end";
    return outcome;
  }

  InferOptions on_worker() const {
    return {.worker = "127.0.0.1:" + std::to_string(peer.port), .prompt = "Hi"};
  }
  InferOptions through_orchestrator() const {
    return {.orchestrator_url = "http://127.0.0.1:" + std::to_string(peer.port),
            .model = "qwen",
            .prompt = "Hi"};
  }
  // Holds the stream open after `bytes`; the job is interrupted meanwhile and cancels.
  void interrupted_stream(std::string bytes, int signal_number) {
    peer.routes["POST /execute"] = [this, bytes = std::move(bytes),
                                    signal_number](net::Exchange& exchange) {
      return send_interrupted(exchange, bytes, signal_number);
    };
    peer.routes["POST /cancel"] = [this](net::Exchange& exchange) {
      cancelled.ring();
      return send_reply(exchange, 200, R"({"status":"cancelled","job_id":"j1"})");
    };
  }
  Task<void> send_interrupted(net::Exchange& exchange, std::string bytes, int signal_number) {
    const net::Headers headers{{"Content-Type", "text/event-stream"}};
    const auto begun = co_await exchange.begin_stream(200, headers);
    const auto sent = co_await exchange.write(bytes);
    if (!begun || !sent) co_return;
    job->interrupt(signal_number);
    co_await cancelled.wait();
    const std::string last = end(1, "CANCELLED");
    const auto told = co_await exchange.write(last);
    const auto ended = co_await exchange.end_stream();
    static_cast<void>(told);
    static_cast<void>(ended);
  }
  // Answers once the waiting line has been shown.
  Task<void> send_after_wait(net::Exchange& exchange, std::string bytes) {
    co_await waited.wait();
    std::vector<std::string> slices{std::move(bytes)};
    co_await send_stream(exchange, std::move(slices), true);
  }

  asio::io_context io{1};
  SystemClock clock;
  Peer peer{io};
  net::Event cancelled{io.get_executor()};
  net::Event waited{io.get_executor()};  // the waiting line has been shown
  InferJob* job = nullptr;
};

// clause: C-4 C-6
TEST_F(InferJobTest, PrintsTheIdThenTheTextThenTheFigures) {
  peer.routes["POST /execute"] = streams(whole_answer());
  auto options = on_worker();
  options.worker_token = "0123456789abcdef";
  const auto outcome = run(options);
  EXPECT_EQ(outcome.code(), exit_ok) << outcome.error();
  EXPECT_EQ(outcome.out, "Héllo 🙂\n");
  ASSERT_EQ(peer.asked.size(), 1U);
  const auto sent = decode_execute(peer.asked[0].body);
  ASSERT_TRUE(sent);
  EXPECT_TRUE(outcome.notes.starts_with("job_id: " + sent->job.id.value + "\n")) << outcome.notes;
  EXPECT_NE(outcome.notes.find("2 tokens, TTFT "), std::string::npos) << outcome.notes;
  EXPECT_NE(outcome.notes.find("20.0 tok/s, stop EOS\n"), std::string::npos) << outcome.notes;
  EXPECT_EQ(peer.asked[0].headers.find("Authorization"), "Bearer 0123456789abcdef");
}

TEST_F(InferJobTest, TakesAStreamSlicedAnywhere) {
  std::vector<std::string> slices;
  for (const char byte : whole_answer()) slices.emplace_back(1, byte);
  peer.routes["POST /execute"] = [slices](net::Exchange& exchange) {
    return send_stream(exchange, slices, true);
  };
  EXPECT_EQ(run(on_worker()).out, "Héllo 🙂\n");
}

// clause: C-2
TEST_F(InferJobTest, JsonIsOneObjectAndNothingElseOnStdout) {
  peer.routes["POST /execute"] = streams(whole_answer());
  auto options = on_worker();
  options.json = true;
  const auto outcome = run(options);
  const auto object = parse_json_object(outcome.out);
  ASSERT_TRUE(object) << outcome.out;
  EXPECT_EQ(object->at("text"), "Héllo 🙂");
  EXPECT_EQ(object->at("stop_reason"), "EOS");
}

// clause: C-8
TEST_F(InferJobTest, ARefusalIsTheWorkersOwnWordsAndItsExitCode) {
  struct Case {
    const char* name;
    Code code;
    ExitCode want;
    const char* next;
  };
  const Case cases[] = {{"bad field", Code::invalid_request, exit_usage, ""},
                        {"no token", Code::unauthorized, exit_denied, "LLORCH_WORKER_TOKEN"},
                        {"full", Code::queue_full, exit_failure, "try again in 2 s"},
                        {"draining", Code::draining, exit_unreachable, "/ready"},
                        {"too long", Code::context_length_exceeded, exit_failure, "--ctx-tokens"},
                        {"same id", Code::conflict, exit_conflict, ""}};
  for (const auto& [name, code, want, next] : cases) {
    SCOPED_TRACE(name);
    const Error error{.code = code, .message = "why not", .retry_after_ms = 1200};
    peer.routes["POST /execute"] = replies(http_status(code), error_body(error, "c1"));
    const auto outcome = run(on_worker());
    EXPECT_EQ(outcome.code(), want);
    EXPECT_NE(outcome.error().find("why not"), std::string::npos) << outcome.error();
    EXPECT_NE(outcome.next().find(next), std::string::npos) << outcome.next();
    EXPECT_EQ(outcome.out, "");
  }
}

// clause: C-8
TEST_F(InferJobTest, NobodyThereIsExitSixWithANextStep) {
  const auto options = on_worker();
  peer.server.terminate();
  peer.server.stop_accepting();
  const auto outcome = run(options);
  EXPECT_EQ(outcome.code(), exit_unreachable);
  EXPECT_NE(outcome.error().find(options.worker), std::string::npos) << outcome.error();
  EXPECT_NE(outcome.next().find("llorch-pool worker"), std::string::npos) << outcome.next();
}

TEST_F(InferJobTest, AStreamCutMidwayKeepsWhatCameAndExitsSix) {
  for (const bool clean : {false, true}) {
    SCOPED_TRACE(clean ? "ended without an end event" : "connection cut");
    peer.routes["POST /execute"] = streams(started() + token(0, "half"), clean);
    const auto outcome = run(on_worker());
    EXPECT_EQ(outcome.code(), exit_unreachable);
    EXPECT_EQ(outcome.out, "half\n");
    EXPECT_NE(outcome.notes.find("1 token"), std::string::npos) << outcome.notes;
  }
}

TEST_F(InferJobTest, AnErrorInTheStreamIsReportedWithItsCode) {
  std::string bytes = started() + token(0, "a");
  append_error_event(bytes, 3, {.code = Code::backend_error, .message = "device lost"}, "c1");
  peer.routes["POST /execute"] = streams(bytes);
  const auto outcome = run(on_worker());
  EXPECT_EQ(outcome.code(), exit_failure);
  EXPECT_NE(outcome.error().find("device lost"), std::string::npos);
}

// clause: C-7
TEST_F(InferJobTest, AnInterruptCancelsOnTheWorker) {
  struct Case {
    const char* name;
    int signal_number;
    ExitCode want;
  };
  for (const auto& [name, signal_number, want] :
       {Case{"Ctrl-C", SIGINT, exit_interrupted}, Case{"SIGTERM", SIGTERM, exit_terminated}}) {
    SCOPED_TRACE(name);
    peer.asked.clear();
    interrupted_stream(started() + token(0, "a"), signal_number);
    const auto outcome = run(on_worker());
    EXPECT_EQ(outcome.code(), want);
    EXPECT_EQ(outcome.out, "a\n");
    EXPECT_NE(outcome.notes.find("stop CANCELLED"), std::string::npos) << outcome.notes;
    const auto* cancel = peer.find("/cancel");
    ASSERT_NE(cancel, nullptr);
    const auto* execute = peer.find("/execute");
    ASSERT_NE(execute, nullptr);
    EXPECT_EQ(decode_cancel(cancel->body)->value, decode_execute(execute->body)->job.id.value);
  }
}

TEST_F(InferJobTest, AnInterruptLeavesAWorkerThatDoesNotAnswer) {
  interrupted_stream(started() + token(0, "a"), SIGINT);
  peer.routes["POST /cancel"] = replies(200, "{}");  // and the stream goes on as if nothing was
  EXPECT_EQ(run(on_worker()).code(), exit_interrupted);
}

TEST_F(InferJobTest, AReaderThatLeavesCancelsQuietly) {
  peer.routes["POST /execute"] = streams(started() + token(0, "a") + token(1, "b"), false);
  peer.routes["POST /cancel"] = replies(200, "{}");
  const auto outcome = run(on_worker(), true);
  EXPECT_EQ(outcome.code(), exit_ok);
  EXPECT_EQ(outcome.out, "a");
  EXPECT_NE(peer.find("/cancel"), nullptr);
  EXPECT_EQ(outcome.notes.find("error"), std::string::npos) << outcome.notes;
}

TEST_F(InferJobTest, ATerminalShowsALongWaitAndNoControlSequenceOfTheModel) {
  const auto answer = started() + token(0, R"(a\u001b[2J)") + end(1, "EOS");
  peer.routes["POST /execute"] = [this, answer](net::Exchange& exchange) {
    return send_after_wait(exchange, answer);
  };
  const auto outcome = run(on_worker(), false, true);
  EXPECT_EQ(outcome.code(), exit_ok) << outcome.error();
  EXPECT_EQ(outcome.out, "a[2J\n");
  const auto waiting = outcome.notes.find("waiting for a free slot");
  ASSERT_NE(waiting, std::string::npos) << outcome.notes;
  EXPECT_NE(outcome.notes.find("  \r", waiting), std::string::npos) << "the line stays";
  EXPECT_EQ(outcome.notes.find('\x1b'), std::string::npos);
}

// contract: §5 GET /v2/tasks/{id}/events resumes with Last-Event-ID
TEST_F(InferJobTest, ATaskIsFollowedAcrossCutConnections) {
  peer.routes["POST /v2/tasks"] = replies(202, R"({"job_id":"t1","status":"queued"})");
  const auto first = streams(": queued position=3\n\n" + started() + token(0, "a"), false);
  const auto second = streams(token(0, "a") + token(1, "b") + end(2, "MAX_TOKENS"));
  int connection = 0;
  peer.routes["GET /v2/tasks/t1/events"] = [&](net::Exchange& exchange) {
    return connection++ == 0 ? first(exchange) : second(exchange);
  };
  auto options = through_orchestrator();
  options.api_token = "key";
  const auto outcome = run(options);
  EXPECT_EQ(outcome.code(), exit_ok) << outcome.error();
  EXPECT_EQ(outcome.out, "ab\n");
  EXPECT_TRUE(outcome.notes.starts_with("job_id: t1\n")) << outcome.notes;
  ASSERT_EQ(peer.asked.size(), 3U);
  EXPECT_TRUE(peer.asked[0].headers.find("Idempotency-Key"));
  EXPECT_FALSE(peer.asked[1].headers.find("Last-Event-ID"));
  EXPECT_EQ(peer.asked[2].headers.find("Last-Event-ID"), "2:9");
  for (const auto& request : peer.asked) {
    EXPECT_EQ(request.headers.find("Authorization"), "Bearer key");
  }
}

// clause: C-11
TEST_F(InferJobTest, AnUnnamedModelIsTheOneThatIsServed) {
  peer.routes["GET /v1/models"] = replies(200, R"({"data":[{"id":"smollm2"}]})");
  peer.routes["POST /v2/tasks"] = replies(202, R"({"job_id":"t1"})");
  peer.routes["GET /v2/tasks/t1/events"] = streams(whole_answer());
  auto options = through_orchestrator();
  options.model.clear();
  EXPECT_EQ(run(options).code(), exit_ok);
  const auto* task = peer.find("/v2/tasks");
  ASSERT_NE(task, nullptr);
  EXPECT_EQ(parse_json_object(task->body)->at("model"), "smollm2");
}

// clause: C-11
TEST_F(InferJobTest, AWorkerInOrchestratordsPlaceIsNamedWithTheRightCommand) {
  Health health;
  health.worker_id = "worker-cpu-abc123";
  peer.routes["GET /health"] = replies(200, encode(health));
  const auto outcome = run(through_orchestrator());
  EXPECT_EQ(outcome.code(), exit_not_found);
  EXPECT_NE(outcome.error().find("worker-cpu-abc123"), std::string::npos) << outcome.error();
  const auto flag = "--worker 127.0.0.1:" + std::to_string(peer.port);
  EXPECT_NE(outcome.next().find(flag), std::string::npos) << outcome.next();
}

TEST_F(InferJobTest, AnUnknownTaskIsNotAskedForAgain) {
  peer.routes["POST /v2/tasks"] = replies(202, R"({"job_id":"t1"})");
  const auto outcome = run(through_orchestrator());
  EXPECT_EQ(outcome.code(), exit_not_found);
  EXPECT_EQ(peer.asked.size(), 2U);
}

}  // namespace
}  // namespace llorch
