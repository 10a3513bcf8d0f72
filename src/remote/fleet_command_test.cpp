#include "remote/fleet_command.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <csignal>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "fakes/temporary_folder.h"
#include "net/event.h"
#include "net/server.h"
#include "protocol/error_body.h"
#include "protocol/job_stream.h"
#include "protocol/json_parse.h"
#include "remote/fleet_client.h"

namespace llorch {
namespace {

using Kind = FleetCommand::Kind;

struct Reply {
  unsigned status = 200;
  std::string body;
  bool stream = false;  // event-stream
  bool cut = false;     // without its clean end
  bool silent = false;  // never comes
};

// orchestratord with scripted replies: each route's come in order, the last one again and again.
struct Peer {
  explicit Peer(asio::io_context& io)
      : quiet(io.get_executor()), server(io, net::ServerOptions{}, [this](net::Exchange& exchange) {
          return answer(exchange);
        }) {
    const auto bound = server.listen();
    EXPECT_TRUE(bound);
    port = bound.value_or(0);
  }

  Task<void> answer(net::Exchange& exchange) {
    const auto& request = exchange.request();
    asked.push_back(request);
    auto& replies = routes[request.method + " " + request.path];
    Reply reply{404, error_body({.code = Code::not_found, .message = "no such route"}, "c1")};
    if (!replies.empty()) reply = replies.front();
    if (replies.size() > 1) replies.erase(replies.begin());
    if (on_request) on_request();
    if (reply.silent) co_await quiet.wait();
    if (!reply.stream) {
      net::HttpResponse response;
      response.status = reply.status;
      response.body = reply.body;
      const auto sent = co_await exchange.reply(std::move(response));
      static_cast<void>(sent);
      co_return;
    }
    const net::Headers headers{{"Content-Type", "text/event-stream"}};
    const auto begun = co_await exchange.begin_stream(200, headers);
    if (!begun) co_return;
    const auto sent = co_await exchange.write(reply.body);
    if (!sent || reply.cut) co_return;
    const auto ended = co_await exchange.end_stream();
    static_cast<void>(ended);
  }

  std::map<std::string, std::vector<Reply>> routes;
  std::vector<net::HttpRequest> asked;
  std::function<void()> on_request;
  net::Event quiet;
  net::HttpServer server;
  std::uint16_t port = 0;
};

std::string token(std::int64_t index, const std::string& text) {
  std::string out;
  const auto n = std::to_string(index);
  append_sse_frame(out, std::to_string(index + 2) + ":9", "token",
                   R"({"type":"token","t":")" + text + R"(","i":)" + n + R"(,"id":9})");
  return out;
}

std::string end(std::int64_t tokens) {
  std::string out;
  append_sse_frame(out, std::to_string(tokens + 2), "end",
                   R"({"type":"end","tokens_out":)" + std::to_string(tokens) +
                       R"(,"stop_reason":"EOS","prefill_ms":1.5,"decode_time_ms":100})");
  return out;
}

std::string refusal(Code code, const std::string& message) {
  return error_body({.code = code, .message = message}, "c1");
}

struct Outcome {
  std::optional<Result<int>> result;
  std::string out, notes;

  int code() const {
    if (!result) return -1;
    return *result ? **result : exit_code(result->error().code);
  }
  Error error() const { return result && !*result ? result->error() : Error{}; }
};

class FleetCommandTest : public testing::Test {
 protected:
  Outcome run(FleetCommand command, bool terminal = false) {
    if (!elsewhere) command.orchestrator_url = "http://127.0.0.1:" + std::to_string(peer.port);
    Outcome outcome;
    InferOutput output;
    output.out_is_terminal = output.note_is_terminal = terminal;
    output.out = [&](std::string_view text) {
      outcome.out += text;
      if (on_output) on_output();
      return true;
    };
    output.note = [&](std::string_view text) { outcome.notes += text; };
    FleetRun fleet(io, std::move(command), std::move(output), clock);
    running = &fleet;
    asio::co_spawn(io, fleet.run(), [&](const std::exception_ptr& thrown, Result<int> result) {
      EXPECT_FALSE(thrown);
      outcome.result = std::move(result);
      io.stop();
    });
    io.run_for(std::chrono::seconds{30});
    io.restart();
    running = nullptr;
    EXPECT_TRUE(outcome.result) << "the command did not end";
    return outcome;
  }

  void TearDown() override {  // lets the routes end that still wait
    peer.on_request = {};
    peer.quiet.ring();
    io.restart();
    io.poll();
  }

  asio::io_context io{1};
  SystemClock clock;
  Peer peer{io};
  FleetRun* running = nullptr;
  std::function<void()> on_output;
  bool elsewhere = false;
};

// clause: C-24
TEST_F(FleetCommandTest, SubmitPrintsTheIdAlone) {
  peer.routes["POST /v2/tasks"] = {{202, R"({"job_id":"j\u001b1","status":"queued"})"}};
  FleetCommand command{.kind = Kind::jobs_submit};
  command.task = {.model = "m", .prompt = "Hi", .idempotency_key = "k1"};
  command.api_token = "secret";
  const auto done = run(command);
  EXPECT_EQ(done.code(), exit_ok);
  EXPECT_EQ(done.out, "j 1\n");
  ASSERT_EQ(peer.asked.size(), 1U);
  EXPECT_EQ(peer.asked[0].headers.find("Idempotency-Key"), "k1");
  EXPECT_EQ(peer.asked[0].headers.find("Authorization"), "Bearer secret");
}

// clause: C-26
TEST_F(FleetCommandTest, EventsGoOnWhereACutLeftThem) {
  peer.routes["GET /v2/tasks/j1/events"] = {
      {.body = token(0, "He") + token(1, "l"), .stream = true, .cut = true},
      {.body = token(2, "lo") + end(3), .stream = true}};
  const auto done = run({.kind = Kind::jobs_events, .id = "j1"});
  EXPECT_EQ(done.code(), exit_ok) << done.error().message;
  EXPECT_EQ(done.out, "Hello\n");
  EXPECT_EQ(done.notes, "3 tokens, stop EOS\n");
  ASSERT_EQ(peer.asked.size(), 2U);
  EXPECT_FALSE(peer.asked[0].headers.find("Last-Event-ID"));
  EXPECT_EQ(peer.asked[1].headers.find("Last-Event-ID"), "3:9");
}

// clause: C-26
TEST_F(FleetCommandTest, EventsAfterTheEndAreNone) {
  peer.routes["GET /v2/tasks/j1/events"] = {{.body = "", .stream = true}};
  peer.routes["GET /v2/tasks/j1"] = {{200, R"({"job_id":"j1","status":"completed"})"}};
  const auto done = run({.kind = Kind::jobs_events, .id = "j1", .after = 99});
  EXPECT_EQ(done.code(), exit_ok) << done.error().message;
  EXPECT_EQ(done.out, "");
  EXPECT_EQ(peer.asked[0].headers.find("Last-Event-ID"), "99");
}

// clause: C-23
TEST_F(FleetCommandTest, ModelsDoNotSteerTheTerminal) {
  peer.routes["GET /v2/tasks/j1/events"] = {
      {.body = token(0, R"(a\u001b[2Jb)") + end(1), .stream = true}};
  EXPECT_EQ(run({.kind = Kind::jobs_events, .id = "j1"}, true).out, "a[2Jb\n");
}

// clause: C-23
TEST_F(FleetCommandTest, EndsWithTheCodeOfWhatWentWrong) {
  struct Case {
    const char* name;
    Kind kind;
    const char* route;
    Reply reply;
    int exit;
    const char* next;
  };
  const Case cases[] = {
      {"no such job",
       Kind::jobs_show,
       "GET /v2/tasks/x",
       {404, refusal(Code::job_not_found, "no job x")},
       exit_not_found,
       "llorch jobs list"},
      {"no such job to follow",
       Kind::jobs_events,
       "GET /v2/tasks/x/events",
       {404, refusal(Code::job_not_found, "no task x")},
       exit_not_found,
       "llorch jobs list"},
      {"no such worker",
       Kind::workers_drain,
       "POST /v2/workers/x/drain",
       {404, refusal(Code::not_found, "no worker x")},
       exit_not_found,
       "llorch workers list"},
      {"no such route", Kind::workers_list, "GET /other", {}, exit_not_found, "--orchestrator-url"},
      {"no token",
       Kind::workers_list,
       "GET /v2/workers",
       {401, refusal(Code::unauthorized, "a key is needed")},
       exit_denied,
       "LLORCH_API_TOKEN"},
      {"no previous policy",
       Kind::policy_rollback,
       "POST /v2/policy/rollback",
       {404, refusal(Code::not_found, "no previous script")},
       exit_not_found,
       "llorch policy show"},
      {"no JSON", Kind::workers_list, "GET /v2/workers", {200, "<html>"}, exit_failure, ""}};
  for (const auto& row : cases) {
    SCOPED_TRACE(row.name);
    peer.routes.clear();
    peer.routes[row.route] = {row.reply};
    const auto done = run({.kind = row.kind, .id = "x"});
    EXPECT_EQ(done.code(), row.exit) << done.error().message;
    EXPECT_EQ(done.out, "");
    EXPECT_NE(done.error().next.find(row.next), std::string::npos) << done.error().next;
    EXPECT_TRUE(done.error().message.starts_with("orchestratord http://127.0.0.1:"));
  }
}

// clause: C-23
TEST_F(FleetCommandTest, SaysWhenNobodyListens) {
  elsewhere = true;
  for (const auto kind : {Kind::jobs_list, Kind::jobs_events, Kind::top}) {
    const auto done = run({.kind = kind, .orchestrator_url = "http://127.0.0.1:1", .id = "x"});
    EXPECT_EQ(done.code(), exit_unreachable);
    EXPECT_NE(done.error().next.find("orchestratord"), std::string::npos);
  }
  const auto done = run({.kind = Kind::jobs_list, .orchestrator_url = "nowhere"});
  EXPECT_EQ(done.code(), exit_usage);
}

// clause: C-23
TEST_F(FleetCommandTest, AReplyThatDoesNotComeIsATimeout) {
  peer.routes["GET /v2/workers"] = {{.silent = true}};
  InferOptions at;
  at.orchestrator_url = "http://127.0.0.1:" + std::to_string(peer.port);
  FleetClient client(io, infer_target(at).value(), std::chrono::milliseconds{50});
  Code code = Code::internal;
  asio::co_spawn(io, client.get("/v2/workers"),
                 [&](const std::exception_ptr&, const Result<boost::json::object>& reply) {
                   if (!reply) code = reply.error().code;
                   io.stop();
                 });
  io.run_for(std::chrono::seconds{10});
  EXPECT_EQ(code, Code::timeout);
  EXPECT_EQ(exit_code(code), exit_timeout);
}

// clause: C-23
TEST_F(FleetCommandTest, ASignalEndsItAtOnce) {
  peer.routes["GET /v2/workers"] = {{.silent = true}};
  peer.routes["GET /v2/tasks/x/events"] = {{.body = token(0, "a"), .stream = true, .cut = true}};
  for (const auto& [kind, number, code] :
       {std::tuple{Kind::workers_list, SIGINT, 130}, std::tuple{Kind::jobs_events, SIGTERM, 143}}) {
    peer.on_request = [this, number = number] {
      if (running != nullptr) running->interrupt(number);
    };
    EXPECT_EQ(run({.kind = kind, .id = "x"}).code(), code);
  }
}

// clause: C-2, C-25
TEST_F(FleetCommandTest, JsonIsTheReplyWithItsVersion) {
  peer.routes["GET /v2/tasks"] = {{200, R"({"jobs":[{"job_id":"j1"}]})"}};
  FleetCommand command{.kind = Kind::jobs_list, .status = "running", .model = "a&b", .json = true};
  const auto done = run(command);
  const auto printed = parse_json_object(done.out);
  ASSERT_TRUE(printed) << done.out;
  EXPECT_EQ(printed->at("version"), "1.0");
  EXPECT_EQ(printed->at("jobs").at(0).at("job_id"), "j1");
  EXPECT_EQ(peer.asked[0].query, "limit=20&status=running&model=a%26b");
}

// clause: C-29
TEST_F(FleetCommandTest, AScriptIsSentAsItIsAndItsErrorsAreFailures) {
  const TemporaryFolder folder;
  const std::string file = folder.write("p.rhai", "fn f() {}\n").string();
  peer.routes["POST /v2/policy/validate"] = {
      {400, refusal(Code::invalid_request, "orchestration.rhai:1:4: odd")},
      {200, R"({"valid":true,"hooks":{"should_admit":true}})"}};
  testing::internal::CaptureStderr();
  EXPECT_EQ(run({.kind = Kind::policy_validate, .file = file}).code(), exit_failure);
  const auto said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("p.rhai: orchestration.rhai:1:4: odd\n"), said.npos) << said;
  const auto valid = run({.kind = Kind::policy_validate, .file = file});
  EXPECT_EQ(valid.out, "Valid " + file + ": hooks should_admit\n");
  EXPECT_EQ(peer.asked.back().body, "fn f() {}\n");
  EXPECT_EQ(run({.kind = Kind::policy_deploy, .file = file + "x"}).code(), exit_not_found);
}

// clause: C-31
TEST_F(FleetCommandTest, TopRedrawsOnATerminalOnly) {
  peer.routes["GET /health"] = {{200, R"({"status":"healthy"})"}};
  peer.routes["GET /v2/workers"] = {{200, R"({"workers":[]})"}};
  peer.routes["GET /v2/tasks"] = {{200, R"({"jobs":[]})"}};
  const auto piped = run({.kind = Kind::top});
  EXPECT_EQ(piped.code(), exit_ok);
  EXPECT_EQ(piped.out.find('\x1b'), std::string::npos);
  EXPECT_EQ(run({.kind = Kind::top, .once = true}, true).out.find('\x1b'), std::string::npos);
  on_output = [this] { running->interrupt(SIGINT); };
  const auto live = run({.kind = Kind::top}, true);
  EXPECT_EQ(live.code(), exit_interrupted);
  EXPECT_NE(live.out.find("\x1b[2J\x1b[H"), std::string::npos);
}

}  // namespace
}  // namespace llorch
