// The bytes of a worker's streams, and what ends them: /execute, OpenAI's frames, relays, cancels,
// clients that leave.
#include <boost/json.hpp>
#include <gtest/gtest.h>
#include <random>
#include <vector>

#include "fakes/test_worker.h"
#include "protocol/worker_api.h"

namespace llorch {
namespace {

namespace json = boost::json;

bool one_busy(const EngineLoad& load) {
  return load.slots_busy == 1;
}

// The frames of a stream but comments and metrics, which come by the clock.
std::vector<std::string> frames_of(const std::string& body) {
  std::vector<std::string> frames;
  for (std::size_t from = 0; from < body.size();) {
    const auto end = body.find("\n\n", from);
    auto frame = body.substr(from, end - from);
    from = end == std::string::npos ? body.size() : end + 2;
    if (!frame.starts_with(":") && frame.find("event: metrics") == std::string::npos) {
      frames.push_back(std::move(frame));
    }
  }
  return frames;
}

std::string id_of(const char* prompt, int index) {
  return std::to_string(FakeEngine::token_at(prompt, index));
}

std::string token_frame(const char* prompt, int index) {
  return "id: " + std::to_string(index + 2) + ":" + id_of(prompt, index) +
         "\nevent: token\ndata: {\"type\":\"token\",\"t\":\"" +
         FakeEngine::text_of(prompt, index, index + 1) + "\",\"i\":" + std::to_string(index) +
         ",\"id\":" + id_of(prompt, index) + "}";
}

std::string execute_body(const std::string& id, const std::string& more) {
  return R"({"job_id":")" + id + R"(","prompt":"Hi","temperature":0,"seed":42)" + more + "}";
}

const BlockingClient::Headers at_once;
const BlockingClient::Headers held = {{"X-Hold-Ms", "8"}};

// clause: W-19, W-20
TEST(ExecuteStream, HasTheContractsFramesInOrder) {
  TestWorker worker;
  const auto reply = worker.ask("POST", "/execute", execute_body("j1", R"(,"max_tokens":2)"));
  EXPECT_EQ(reply.status, 200U);
  EXPECT_EQ(reply.headers.at("content-type"), "text/event-stream");
  EXPECT_EQ(reply.headers.at("cache-control"), "no-cache");
  EXPECT_TRUE(reply.complete);
  const auto frames = frames_of(reply.body);
  ASSERT_EQ(frames.size(), 4U) << reply.body;
  EXPECT_TRUE(frames[0].starts_with(
      "id: 1\nevent: started\ndata: {\"type\":\"started\",\"job_id\":\"j1\",\"model\":\"fake\","
      "\"seed\":42,\"started_at\":\""));
  EXPECT_TRUE(frames[0].ends_with("Z\",\"prompt_tokens\":2,\"cached_tokens\":0}")) << frames[0];
  EXPECT_EQ(frames[1], token_frame("Hi", 0));
  EXPECT_EQ(frames[2], token_frame("Hi", 1));
  EXPECT_EQ(frames[3],
            "id: 4\nevent: end\ndata: {\"type\":\"end\",\"tokens_out\":2,\"stop_reason\":"
            "\"MAX_TOKENS\",\"prefill_ms\":1,\"decode_time_ms\":2}");
}

// clause: W-27
TEST(ExecuteStream, AResumeGoesOnWhereTheTokensEnd) {
  TestWorker worker;
  const auto reply = worker.ask("POST", "/execute",
                                execute_body("j", R"(,"max_tokens":3,"resume_tokens":[)" +
                                                      id_of("Hi", 0) + "," + id_of("Hi", 1) + "]"));
  const auto frames = frames_of(reply.body);
  ASSERT_EQ(frames.size(), 3U) << reply.body;
  EXPECT_EQ(frames[1], token_frame("Hi", 2));
  EXPECT_TRUE(frames[2].starts_with("id: 5\nevent: end"));
}

// clause: W-27
TEST(ExecuteStream, AResumeOfAWholeAnswerIsItsEndAlone) {
  TestWorker worker;
  const auto reply = worker.ask("POST", "/execute",
                                execute_body("j", R"(,"max_tokens":2,"resume_tokens":[)" +
                                                      id_of("Hi", 0) + "," + id_of("Hi", 1) + "]"));
  const auto frames = frames_of(reply.body);
  ASSERT_EQ(frames.size(), 2U) << reply.body;
  EXPECT_TRUE(frames[1].starts_with("id: 4\nevent: end"));
}

// clause: W-23
TEST(ExecuteStream, AStopStringAcrossTokensIsCutAndNamed) {
  TestWorker worker;
  const auto stop = FakeEngine::text_of("Hi", 2, 4);
  const auto reply =
      worker.ask("POST", "/execute", execute_body("j", R"(,"stop":[")" + stop + R"("])"));
  std::string text;
  const auto frames = frames_of(reply.body);
  for (const auto& frame : frames) {
    const auto data = json::parse(frame.substr(frame.find("data: ") + 6));
    if (data.at("type").as_string() == "token") text += data.at("t").as_string();
  }
  EXPECT_EQ(text, FakeEngine::text_of("Hi", 0, 2));
  const auto end = json::parse(frames.back().substr(frames.back().find("data: ") + 6));
  EXPECT_EQ(end.at("stop_reason").as_string(), "STOP_SEQUENCE");
  EXPECT_EQ(end.at("stop_sequence_matched").as_string(), stop);
  EXPECT_EQ(end.at("tokens_out").to_number<int>(), 4);
}

// clause: W-20
TEST(ExecuteStream, AFailureInTheMiddleIsAnErrorEvent) {
  TestWorker worker;
  TokenOut token;
  token.id = 65;
  token.text = "A";
  worker.engine().script_next(
      {Started{2, 0, 42}, token, Failed{{Code::backend_error, "the device is lost"}}});
  const auto reply = worker.ask("POST", "/execute", execute_body("j", ""));
  EXPECT_EQ(reply.status, 200U);
  const auto frames = frames_of(reply.body);
  ASSERT_EQ(frames.size(), 3U) << reply.body;
  EXPECT_TRUE(frames[2].starts_with("id: 3\nevent: error\ndata: {\"type\":\"error\""));
  EXPECT_NE(frames[2].find("\"code\":\"BACKEND_ERROR\""), std::string::npos);
  EXPECT_NE(worker.ask("GET", "/metrics").body.find("{outcome=\"failed\"} 1"), std::string::npos);
}

// clause: W-38
TEST(ExecuteStream, AFailureBeforeTheFirstEventKeepsItsStatus) {
  TestWorker worker;
  worker.engine().script_next({Failed{{Code::invalid_request, "the grammar is wrong"}}});
  const auto reply = worker.ask("POST", "/execute", execute_body("j", ""));
  EXPECT_EQ(reply.status, 400U);
  EXPECT_NE(reply.body.find("the grammar is wrong"), std::string::npos);
}

// clause: W-21
TEST(ExecuteStream, SpeaksWhileTheEngineIsSilent) {
  TestWorker worker({.prefill_chunk = 1, .held = true});
  BlockingClient client(worker.port());
  client.send("POST", "/execute", execute_body("j", ""));
  ASSERT_TRUE(worker.engine().wait_until(one_busy));
  worker.engine().allow(1);
  auto reply = client.read_head();
  EXPECT_EQ(reply.status, 200U);
  ASSERT_TRUE(client.read_until(reply, R"("type":"metrics")"));
  EXPECT_NE(reply.body.find("event: metrics\ndata: {\"type\":\"metrics\",\"phase\":\"prefill\","
                            "\"prompt_done\":1,\"prompt_total\":2,\"engine_step\":1"),
            std::string::npos)
      << reply.body;
  worker.engine().release();
  client.read_rest(reply);
  EXPECT_TRUE(reply.complete);
}

// clause: W-38
TEST(ExecuteStream, HeadersGoOutAfterFiveSecondsInTheQueue) {
  TestWorker worker({.held = true});
  BlockingClient client(worker.port());
  client.send("POST", "/execute", execute_body("j", ""));
  auto reply = client.read_head();  // comes although nothing has happened
  EXPECT_EQ(reply.status, 200U);
  ASSERT_TRUE(client.read_until(reply, R"("phase":"queued")"));
  worker.engine().release();
  client.read_rest(reply);
  EXPECT_NE(reply.body.find("event: end"), std::string::npos);
}

// clause: W-54
TEST(HeldStream, HasTheSameFrames) {
  TestWorker worker({.step = std::chrono::microseconds(100)});
  const auto body = execute_body("j", R"(,"max_tokens":300)");
  const auto want = frames_of(worker.ask("POST", "/execute", body).body);
  const auto reply = worker.ask("POST", "/execute", body, held);
  EXPECT_TRUE(reply.complete);
  const auto frames = frames_of(reply.body);
  ASSERT_EQ(frames.size(), want.size());
  ASSERT_EQ(frames.size(), 302U);
  EXPECT_TRUE(std::equal(frames.begin() + 1, frames.end(), want.begin() + 1)) << "all but started";
}

// clause: W-54
TEST(HeldStream, SendsATokenThatComesAfterAPause) {
  TestWorker worker({.held = true});
  BlockingClient client(worker.port());
  client.send("POST", "/execute", execute_body("j", R"(,"max_tokens":300)"), held);
  ASSERT_TRUE(worker.engine().wait_until(one_busy));
  worker.engine().allow(41);  // of which one is for the prompt
  auto reply = client.read_head();
  ASSERT_TRUE(client.read_until(reply, R"("i":39)"));
  ASSERT_TRUE(client.read_until(reply, R"("type":"metrics")")) << "a second of silence";
  for (int index = 40; index < 60; ++index) {
    worker.engine().allow(1);
    ASSERT_TRUE(client.read_until(reply, "\"i\":" + std::to_string(index)));
  }
  worker.engine().release();
  client.read_rest(reply);
  EXPECT_TRUE(reply.complete);
}

// clause: W-20, W-54
TEST(HeldStream, TellsOfAFailureBehindWhatWasHeld) {
  TestWorker worker;
  std::vector<JobEvent> script{Started{2, 0, 42}};
  for (int index = 0; index < 20; ++index) {
    TokenOut token;
    token.index = index;
    token.id = 65;
    token.text = "A";
    script.emplace_back(token);
  }
  script.emplace_back(Failed{{Code::backend_error, "the device is lost"}});
  worker.engine().script_next(script);
  const auto frames = frames_of(worker.ask("POST", "/execute", execute_body("j", ""), held).body);
  ASSERT_EQ(frames.size(), 22U);
  EXPECT_TRUE(frames[21].starts_with("id: 22\nevent: error\n")) << frames[21];
}

std::string relay_body(const char* openai_body, const std::string& more = "") {
  return R"({"job_id":"j","openai":{"route":"/v1/chat/completions","body":)" +
         std::string(openai_body) + R"(,"completion_id":"chatcmpl-1","created":1700000000})" +
         more + "}";
}

// clause: W-28
TEST(Relay, FramesAreFinishedOpenAiOnesWithIds) {
  TestWorker worker;
  const auto reply = worker.ask(
      "POST", "/execute",
      relay_body(R"({"messages":[{"role":"user","content":"Hi"}],"max_tokens":2,"stream":true,)"
                 R"("stream_options":{"include_usage":true}})"));
  EXPECT_EQ(reply.status, 200U);
  const auto frames = frames_of(reply.body);
  ASSERT_EQ(frames.size(), 7U) << reply.body;
  EXPECT_TRUE(frames[0].starts_with("id: 1\nevent: started\n"));
  EXPECT_TRUE(frames[1].starts_with("data: {\"id\":\"chatcmpl-1\"")) << "the role frame has no id";
  EXPECT_NE(frames[1].find(R"("role":"assistant")"), std::string::npos);
  EXPECT_TRUE(frames[2].starts_with("id: 2:" + id_of("Hi", 0) + "\ndata: {"));
  EXPECT_TRUE(frames[3].starts_with("id: 3:" + id_of("Hi", 1) + "\ndata: {"));
  EXPECT_TRUE(frames[4].starts_with("id: 4\ndata: {"));
  EXPECT_NE(frames[4].find(R"("finish_reason":"length")"), std::string::npos);
  EXPECT_TRUE(frames[5].starts_with("data: {"));
  EXPECT_NE(frames[5].find(R"("completion_tokens":2)"), std::string::npos);
  EXPECT_EQ(frames[6], "data: [DONE]");
}

TEST(Relay, AResumeRepeatsNeitherRoleNorTokens) {
  TestWorker worker;
  const auto reply = worker.ask(
      "POST", "/execute",
      relay_body(R"({"messages":[{"role":"user","content":"Hi"}],"max_tokens":2,"stream":true})",
                 R"(,"attempt":1,"resume_tokens":[)" + id_of("Hi", 0) + "]"));
  const auto frames = frames_of(reply.body);
  ASSERT_EQ(frames.size(), 4U) << reply.body;
  EXPECT_TRUE(frames[1].starts_with("id: 3:" + id_of("Hi", 1) + "\ndata: {"));
  EXPECT_TRUE(frames[2].starts_with("id: 4\ndata: {"));
  EXPECT_EQ(frames[3], "data: [DONE]");
}

TEST(Relay, ABodyThatDoesNotStreamComesWholeAsTheFinishFrame) {
  TestWorker worker;
  const auto reply =
      worker.ask("POST", "/execute",
                 relay_body(R"({"messages":[{"role":"user","content":"Hi"}],"max_tokens":2})"));
  const auto frames = frames_of(reply.body);
  ASSERT_GE(frames.size(), 4U) << reply.body;
  EXPECT_EQ(frames[1], "id: 2:" + id_of("Hi", 0) + "\ndata: {}");
  EXPECT_EQ(frames[2], "id: 3:" + id_of("Hi", 1) + "\ndata: {}");
  ASSERT_TRUE(frames[3].starts_with("id: 4\ndata: {"));
  const auto whole = json::parse(frames[3].substr(frames[3].find('{')));
  EXPECT_EQ(whole.at("object").as_string(), "chat.completion");
  EXPECT_EQ(whole.at("choices").at(0).at("message").at("content").as_string(),
            FakeEngine::text_of("Hi", 0, 2));
}

// clause: W-31, W-38
TEST(OpenAiStream, EndsWithDoneAndHasNoEventLines) {
  TestWorker worker;
  const auto reply =
      worker.ask("POST", "/v1/chat/completions",
                 R"({"messages":[{"role":"user","content":"Hi"}],"max_tokens":2,"stream":true})");
  EXPECT_EQ(reply.headers.at("content-type"), "text/event-stream");
  EXPECT_TRUE(reply.body.ends_with("data: [DONE]\n\n"));
  EXPECT_EQ(reply.body.find("event:"), std::string::npos);
  EXPECT_EQ(reply.body.find("id: "), std::string::npos);
}

// clause: W-25
TEST(Cancel, FreesTheSlotFromEveryPhaseByRequestOrByLeaving) {
  struct Case {
    const char* name;
    const char* path;
    std::int64_t steps;  // before the cancel: 0 = prefill not begun, 1 = in prefill, 3 = decode
    bool leave;
  };
  const Case cases[] = {{"request, before prefill", "/execute", 0, false},
                        {"request, prefill", "/execute", 1, false},
                        {"request, decode", "/execute", 3, false},
                        {"leaving, before prefill", "/execute", 0, true},
                        {"leaving, prefill", "/execute", 1, true},
                        {"leaving, decode", "/execute", 3, true},
                        {"leaving a stream of /v1", "/v1/completions", 3, true}};
  TestWorker worker({.slots = 1, .prefill_chunk = 1, .held = true});
  for (const auto& [name, path, steps, leave] : cases) {
    SCOPED_TRACE(name);
    BlockingClient client(worker.port());
    client.send("POST", path,
                std::string(path) == "/execute" ? execute_body(name, "")
                                                : R"({"prompt":"Hi","stream":true})");
    ASSERT_TRUE(worker.engine().wait_until(one_busy));
    if (steps > 0) {
      const auto until = worker.engine().load().engine_step + static_cast<std::uint64_t>(steps);
      worker.engine().allow(steps);
      ASSERT_TRUE(worker.engine().wait_until(
          [until](const EngineLoad& load) { return load.engine_step >= until; }));
    }
    if (leave) {
      client.close();
    } else {
      const auto body = R"({"job_id":")" + std::string(name) + R"("})";
      EXPECT_EQ(worker.ask("POST", "/cancel", body).status, 200U);
      EXPECT_NE(client.read_reply().body.find(R"("stop_reason":"CANCELLED")"), std::string::npos);
    }
    // The engine is held: no step was needed.
    EXPECT_TRUE(worker.engine().wait_until(idle));
  }
}

TEST(Cancel, FreesAQueuedJobToo) {
  TestWorker worker({.slots = 1, .held = true});
  BlockingClient running(worker.port());
  running.send("POST", "/execute", execute_body("a", ""));
  ASSERT_TRUE(worker.engine().wait_until(one_busy));
  BlockingClient queued(worker.port());
  queued.send("POST", "/v1/completions", R"({"prompt":"Hi"})");
  ASSERT_TRUE(worker.engine().wait_until([](const auto& load) { return load.queue_depth == 1; }));
  queued.close(true);
  EXPECT_TRUE(worker.engine().wait_until([](const auto& load) { return load.queue_depth == 0; }));
  worker.engine().release();
}

// clause: W-25
TEST(Cancel, AWholeReplysClientThatLeavesFreesTheSlot) {
  TestWorker worker({.held = true});
  BlockingClient client(worker.port());
  client.send("POST", "/v1/chat/completions", R"({"messages":[{"role":"user","content":"Hi"}]})");
  ASSERT_TRUE(worker.engine().wait_until(one_busy));
  client.close();
  EXPECT_TRUE(worker.engine().wait_until(idle));
}

TEST(Cancel, AWholeReplyOfACancelledJobIsAnError) {
  TestWorker worker({.held = true});
  BlockingClient client(worker.port());
  client.send("POST", "/v1/completions", R"({"prompt":"Hi"})");
  ASSERT_TRUE(worker.engine().wait_until(one_busy));
  const auto id = worker.engine().load().jobs.at(0).id.value;
  EXPECT_EQ(worker.ask("POST", "/cancel", R"({"job_id":")" + id + R"("})").status, 200U);
  const auto reply = client.read_reply();
  EXPECT_EQ(reply.status, 499U);
  EXPECT_EQ(reply.headers.at("x-request-id"), id);
}

// promise: R13 at the worker's size
TEST(Cancel, AThousandAtRandomMomentsLeaveNothingBehind) {
  auto options = TestWorker::default_options();
  options.queue = 16;
  TestWorker worker({.slots = 4, .step = std::chrono::microseconds(50)}, options);
  constexpr unsigned seed = 20'250;
  std::mt19937 random(seed);
  for (int i = 0; i < 1'000; ++i) {
    BlockingClient client(worker.port());
    const auto id = "job-" + std::to_string(i);
    const bool streams = random() % 4 != 0;
    client.send("POST", streams ? "/execute" : "/v1/completions",
                streams ? execute_body(id, R"(,"max_tokens":4000)") : R"({"prompt":"Hi"})",
                random() % 2 == 0 ? held : at_once);
    BlockingReply reply;
    if (streams && random() % 2 == 0) {
      reply = client.read_head();
      if (random() % 2 == 0) client.read_until(reply, "event: token");
    }
    if (streams && random() % 3 == 0) {
      const auto cancelled = worker.ask("POST", "/cancel", R"({"job_id":")" + id + R"("})");
      EXPECT_TRUE(cancelled.status == 200 || cancelled.status == 404);
    }
    client.close(random() % 2 == 0);
  }
  EXPECT_TRUE(worker.engine().wait_until(idle)) << "seed " << seed;
  const auto last = worker.ask("POST", "/execute", execute_body("last", R"(,"max_tokens":1)"));
  EXPECT_EQ(last.status, 200U);
}

// A slow reader stalls its own job and no other.
// clause: W-30
TEST(Backpressure, AReaderThatStopsParksOnlyItsOwnJob) {
  TestWorker worker({.slots = 2, .context_tokens = 1 << 22});
  BlockingClient slow(worker.port(), 4096);
  slow.send("POST", "/execute", execute_body("slow", R"(,"max_tokens":4000000)"), held);
  auto head = slow.read_head();
  EXPECT_EQ(head.status, 200U);
  // Others are served although the slow one never reads again.
  for (int i = 0; i < 3; ++i) {
    const auto reply = worker.ask("POST", "/execute",
                                  execute_body("quick" + std::to_string(i), R"(,"max_tokens":50)"));
    EXPECT_NE(reply.body.find("MAX_TOKENS"), std::string::npos);
  }
  EXPECT_EQ(worker.engine().load().slots_busy, 1);
  slow.close(true);
  EXPECT_TRUE(worker.engine().wait_until(idle));
}

}  // namespace
}  // namespace llorch
