#include "remote/fleet_text.h"

#include <algorithm>
#include <boost/json.hpp>
#include <gtest/gtest.h>
#include <string>

#include "console/terminal.h"
#include "fakes/temporary_folder.h"
#include "protocol/json_parse.h"
#include "remote/event_text.h"
#include "remote/fleet_client.h"
#include "remote/infer_request.h"
#include "remote/policy_trial.h"
#include "remote/top_screen.h"

namespace llorch {
namespace {

namespace json = boost::json;

json::object object_of(std::string_view text) {
  auto parsed = parse_json_object(text);
  EXPECT_TRUE(parsed) << text;
  return parsed.value_or(json::object{});
}

std::size_t widest_line(std::string_view text) {
  std::size_t widest = 0;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    widest = std::max(widest, display_width(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return widest;
}

bool is_plain(std::string_view text) {
  return std::ranges::none_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\n') || byte == 0x7F;
  });
}

constexpr const char* job = R"({"job_id":"5f0c2a0e-7d1b-4b7e-9f57-0d6c8a1e2b3c","kind":"task",
  "status":"dispatched","model":"a-model-with-a-name-that-goes-on-and-on","priority":"batch",
  "tenant":"acme","worker_id":"w-1","attempt":2,"tokens_out":123456,"prompt_tokens":12,
  "cached_tokens":4,"accepted_at":"2030-01-01T00:00:00.000Z","queue_position":3,
  "predicted_start_ms":1200,"error":{"code":"NO_WORKER","message":"none\nleft"}})";

WallTime at(std::int64_t unix_s) {
  return std::chrono::system_clock::from_time_t(unix_s);
}
constexpr std::int64_t year_2030 = 1'893'456'000;

// clause: C-3, C-25
TEST(FleetText, JobsFitEightyColumnsWithWholeIds) {
  json::array jobs;
  for (int i = 0; i < 3; ++i) jobs.push_back(object_of(job));
  const auto text = jobs_table({{"jobs", jobs}}, at(year_2030 + 3'725));
  EXPECT_LE(widest_line(text), 80U) << text;
  EXPECT_NE(text.find("5f0c2a0e-7d1b-4b7e-9f57-0d6c8a1e2b3c  dispatched"), text.npos) << text;
  EXPECT_NE(text.find("1h 2m"), text.npos) << text;
  EXPECT_EQ(std::ranges::count(text, '\n'), 4);
  EXPECT_EQ(jobs_table({}, at(0)), "No jobs\n");
}

// clause: C-25
TEST(FleetText, AJobTellsWhatIsKnownOfIt) {
  const auto text = job_text(object_of(job));
  for (const char* line :
       {"Status:      dispatched\n", "Worker:      w-1\n", "Tenant:      acme\n",
        "Queue:       position 3, starts in about 1200 ms\n", "Attempt:     2\n",
        "Prompt:      12 tokens, 4 of them cached\n", "Error:       NO_WORKER: none left\n"}) {
    EXPECT_NE(text.find(line), text.npos) << line << text;
  }
  EXPECT_EQ(text.find("Ended"), text.npos);
}

// clause: C-27
TEST(FleetText, WorkersFitEightyColumnsWithWholeIds) {
  const auto reply = object_of(
      R"({"workers":[{"worker_id":")" + std::string(20, 'w') +
      R"(","status":"healthy","draining":true,"host":")" + std::string(100, 'h') +
      R"(","port":65535,"model":")" + std::string(100, 'm') +
      R"(","backend":"vulkan","slots_total":256,"slots_busy":255,"queue_depth":65536}]})");
  const auto text = workers_table(reply);
  EXPECT_LE(widest_line(text), 80U) << text;
  EXPECT_NE(text.find("draining"), text.npos) << text;
  EXPECT_NE(text.find("255/256"), text.npos) << text;
  EXPECT_EQ(workers_table({}), "No workers\n");
}

// clause: C-28
TEST(FleetText, ExplainMarksTheChosenCandidateAndSaysWhatDecided) {
  const auto reply = object_of(R"({"job":{"job_id":"j1","status":"completed"},
    "times_ms":{"waited":12.34,"to_first_token":30,"decode":1234.5,"prefill_tokens_cached":4,
                "prefill_tokens_computed":8},
    "decisions":[{"attempt":0,"waited_ms":12,"worker_id":"w-2","decided_by":"built-in cost",
      "candidates":[
       {"worker_id":"w-1","backend":"cpu","slots_free":1,"cached_tokens":0,"wait_ms":0.5,
        "prefill_ms":9,"decode_ms":100,"cost_ms":109.5},
       {"worker_id":"w-2","backend":"cuda","slots_free":2,"cached_tokens":4,"wait_ms":0,
        "prefill_ms":1,"decode_ms":50,"cost_ms":51}]}]})");
  const auto text = explain_text(reply);
  EXPECT_NE(text.find("Attempt 0, after 12 ms: w-2, decided by built-in cost\n"), text.npos);
  EXPECT_NE(text.find("\n*  w-2"), text.npos) << text;
  EXPECT_NE(text.find("\n   w-1"), text.npos) << text;
  EXPECT_NE(text.find("waited 12.3, to the first token 30.0, decode 1234"), text.npos) << text;
  EXPECT_NE(text.find("4 tokens from the cache, 8 computed"), text.npos) << text;
  EXPECT_LE(widest_line(text), 80U);
}

// clause: O-31
TEST(FleetText, ExplainNamesWhatAnExternalServerIsCharged) {
  const auto text = explain_text(object_of(R"({"decisions":[{"candidates":[
      {"worker_id":"w-1","external_ms":0,"cost_ms":51},
      {"worker_id":"lab:qwen","external_ms":1000,"cost_ms":1051}]}]})"));
  EXPECT_NE(text.find("\nlab:qwen is an external server: 1000 ms are added"), text.npos) << text;
  EXPECT_EQ(text.find("w-1 is"), text.npos) << text;
}

// clause: O-39
TEST(FleetText, UsageFitsEightyColumnsAndSumsUp) {
  const std::string sums =
      R"("jobs":123456,"failed":1234,"prompt_tokens":1234567890,"cached_tokens":0,"tokens_out":7})";
  const auto row = R"({"tenant":")" + std::string(60, 't') + R"(","model":")" +
                   std::string(60, 'm') + "\"," + sums;
  const auto text = usage_table(object_of(R"({"since":"2030-01-01T00:00:00.000Z","usage":[)" + row +
                                          "," + row + R"(],"total":{)" + sums + "}"));
  EXPECT_LE(widest_line(text), 80U) << text;
  EXPECT_NE(text.find("\ntotal"), text.npos) << text;
  EXPECT_NE(usage_table({}).find("none"), std::string::npos);
}

// clause: C-23
TEST(FleetText, NothingOfTheirsSteersTheTerminal) {
  const std::string evil = R"("\u001b[2J\u001b]0;x\u0007\r\nerror: fake")";
  const auto hostile =
      object_of(R"({"jobs":[{"job_id":)" + evil + R"(,"status":)" + evil + R"(,"model":)" + evil +
                R"(}],"workers":[{"worker_id":)" + evil + R"(,"status":)" + evil + R"(,"host":)" +
                evil + R"(}],"job":{"job_id":)" + evil + R"(},"decisions":[{"worker_id":)" + evil +
                R"(,"decided_by":)" + evil + R"(,"candidates":[{"worker_id":)" + evil +
                R"(}]}],"since":)" + evil + R"(,"examples":[{"job_id":)" + evil + R"(,"before":)" +
                evil + R"(}],"status":)" + evil + "}");
  const TopFigures figures{hostile, hostile, hostile};
  for (const auto& text :
       {jobs_table(hostile, at(0)), workers_table(hostile), job_text(hostile),
        explain_text(hostile), replay_text(hostile, "x"), top_text("x", figures, at(0))}) {
    EXPECT_TRUE(is_plain(text)) << text;
    EXPECT_EQ(text.find("\nerror"), text.npos) << text;
  }
}

// clause: O-40
TEST(FleetText, AReplayIsWhatWouldChangeByWorkerWithExamples) {
  const auto reply = object_of(
      R"({"since":"2030-01-01T00:00:00.000Z","recorded":20,"decisions":12,"same":9,"other_worker":2,
          "other_kind":1,"script_errors":3,"complete":true,"workers":[
            {"worker_id":"w-1","before":12,"after":9},{"worker_id":"w-2","before":0,"after":2}],
          "examples":[{"job_id":"j-1","before":"worker w-1","after":"worker w-2",
                       "decided_by":"candidate:3"}]})");
  const auto text = replay_text(reply, "mine.rhai");
  for (const auto* const part :
       {"mine.rhai: 12 decisions since 2030-01-01T00:00:00.000Z\n",
        "the same 9, another worker 2, decided otherwise 1\n",
        "20 were recorded in that time; --limit N replays more\n", "failed 3 times", "-3", "+2",
        "j-1: worker w-1 -> worker w-2 (candidate:3)\n"}) {
    EXPECT_NE(text.find(part), text.npos) << part << "\n" << text;
  }
  EXPECT_LE(widest_line(text), 80U);
}

TEST(FleetText, RepliesOfAnyShapeAreShown) {
  const auto odd = object_of(R"({"jobs":[7,{"tokens_out":"x"}],"workers":[null],"decisions":[[]],
                                 "hooks":3,"times_ms":"x"})");
  EXPECT_FALSE(jobs_table(odd, at(0)).empty());
  EXPECT_FALSE(workers_table(odd).empty());
  EXPECT_FALSE(explain_text(odd).empty());
  EXPECT_FALSE(replay_text(odd, "").empty());
  EXPECT_EQ(hooks_text(odd), "none");
}

// clause: C-29
TEST(FleetText, APolicyIsItsFactsAndItsScript) {
  const auto text = policy_text(object_of(
      R"({"path":"/r/orchestration.rhai","loaded":true,"source":"fn f() {}","placement":"cost",
          "has_previous":true,"hooks":{"schedule_job":true,"should_retry":true}})"));
  EXPECT_NE(text.find("Hooks:       schedule_job, should_retry\n"), text.npos) << text;
  EXPECT_TRUE(text.ends_with("\n\nfn f() {}\n")) << text;
}

// clause: C-31
TEST(TopScreen, HasTheFleetInAFewLinesAndIsRedrawnInPlace) {
  const TopFigures figures{object_of(R"({"status":"healthy","uptime_seconds":61,"queue_depth":5})"),
                           object_of(R"({"workers":[{"worker_id":"w-1","status":"healthy"},
                                                    {"worker_id":"w-2","status":"dead"}]})"),
                           json::object{{"jobs", json::array{object_of(job)}}}};
  const auto text = top_text("orchestratord http://h:1", figures, at(year_2030));
  EXPECT_NE(text.find("healthy, up 1m 1s\n"), text.npos) << text;
  EXPECT_NE(text.find("Workers: 2, 1 healthy   Queue: 5   On a worker: 1\n"), text.npos) << text;
  EXPECT_EQ(redraw("a\nb\nc\n", 3, 80), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
  EXPECT_EQ(redraw("", 3, 80), "\x1b[H\x1b[J");
}

SseEvent event(std::string type, std::string id, std::string data) {
  return {.type = std::move(type), .data = std::move(data), .id = std::move(id)};
}

// clause: C-26
TEST(EventText, IsTheAnswerOrALineOfJsonForEachEvent) {
  const auto token = event("token", "2:9", R"({"type":"token","t":"Hé","i":0,"id":9})");
  const auto end = event("end", "3", R"({"type":"end","tokens_out":1,"stop_reason":"EOS",
    "prefill_ms":1,"decode_time_ms":2})");
  EventText plain(false);
  EXPECT_EQ(plain.take(token).value(), "Hé");
  EXPECT_EQ(plain.take(end).value(), "");
  EXPECT_EQ(plain.summary(), "1 token, stop EOS");
  EXPECT_TRUE(plain.verdict("j"));
  EventText lines(true);
  EXPECT_EQ(lines.take(token).value(),
            R"({"id":"2:9","event":"token","data":)" + token.data + "}\n");
  const auto last = lines.take(end).value();
  EXPECT_EQ(std::ranges::count(last, '\n'), 1) << last;
  EXPECT_TRUE(parse_json_object(last));
}

// clause: C-26
TEST(EventText, EndsAsTheJobDid) {
  EventText failed(true);
  ASSERT_TRUE(failed.take(
      event("error", "4", R"({"type":"error","code":"WORKER_LOST","message":"gone"})")));
  EXPECT_FALSE(failed.verdict("j"));
  EventText cancelled(false);
  ASSERT_TRUE(cancelled.take(event(
      "end", "4",
      R"({"type":"end","tokens_out":1,"stop_reason":"CANCELLED","prefill_ms":1,"decode_time_ms":1})")));
  ASSERT_FALSE(cancelled.verdict("j"));
  EXPECT_EQ(cancelled.verdict("j").error().code, Code::cancelled);
  EventText broken(true);
  EXPECT_FALSE(broken.take(event("news", "5", "no JSON")));
}

TEST(FleetPath, EscapesWhatAPathCannotHold) {
  EXPECT_EQ(path_of("/v2/tasks/", "a b/../c?d%#é"), "/v2/tasks/a%20b%2F..%2Fc%3Fd%25%23%C3%A9");
  EXPECT_EQ(query_of("model", "a&b=c"), "model=a%26b%3Dc");
}

// clause: C-24
TEST(InferRequest, ATaskSaysWhatOnlyATaskHas) {
  const auto body = object_of(
      task_body({.model = "m", .prompt = "x", .batch = true, .tenant = "acme", .deadline_ms = 9}));
  EXPECT_EQ(body.at("priority"), "batch");
  EXPECT_EQ(body.at("tenant"), "acme");
  EXPECT_EQ(body.at("deadline_ms").as_int64(), 9);
  const auto plain = object_of(task_body({.model = "m", .prompt = "x"}));
  for (const char* name : {"priority", "tenant", "deadline_ms"}) EXPECT_FALSE(plain.contains(name));
}

constexpr const char* waits = "fn schedule_job(job, workers) { wait() }";
constexpr const char* two_cases = R"([
  {"name":"waits","job":{},"workers":[{"id":"w"}],"expect":{"wait":true}},
  {"name":"takes w","job":{},"workers":[{"id":"w"}],"expect":{"worker":"w"}}])";

// clause: C-30
TEST(PolicyTrial, RunsTheCasesBesideTheScript) {
  const TemporaryFolder folder;
  const auto files = make_file_system();
  const auto script = folder.write("mine.rhai", waits);
  EXPECT_EQ(try_policy(*files, script).error().code, Code::not_found);
  folder.write("tests/shared.json", two_cases);
  ASSERT_TRUE(try_policy(*files, script));
  folder.write("tests/mine/a.json", two_cases);
  folder.write("tests/mine/notes.txt", "no case");
  const auto trials = try_policy(*files, script);
  ASSERT_TRUE(trials) << trials.error().message;
  ASSERT_EQ(trials->size(), 2U);
  EXPECT_TRUE(trials->at(0).passed);
  EXPECT_FALSE(all_passed(*trials));
  const auto text = trials_text(*trials);
  EXPECT_NE(text.find("ok waits\n"), text.npos) << text;
  EXPECT_NE(text.find("FAILED takes w: expected worker w, got wait"), text.npos) << text;
  EXPECT_TRUE(text.ends_with("Passed: 1 Failed: 1\n")) << text;
  EXPECT_EQ(trials_json(*trials).at("failed").as_uint64(), 1U);
}

// clause: C-30
TEST(PolicyTrial, SaysWhichFileCannotBeUsed) {
  const TemporaryFolder folder;
  const auto files = make_file_system();
  EXPECT_EQ(try_policy(*files, folder / "none.rhai").error().code, Code::not_found);
  const auto script = folder.write("s.rhai", waits);
  folder.write("tests/s/bad.json", "{");
  const auto bad_case = try_policy(*files, script);
  ASSERT_FALSE(bad_case);
  EXPECT_NE(bad_case.error().message.find("bad.json: "), std::string::npos);
  folder.write("tests/s/bad.json", two_cases);
  folder.write("s.rhai", "fn schedule_job(");
  const auto bad_script = try_policy(*files, script);
  ASSERT_FALSE(bad_script);
  EXPECT_NE(bad_script.error().message.find("s.rhai: "), std::string::npos);
}

}  // namespace
}  // namespace llorch
