#include "remote/infer_session.h"

#include <chrono>
#include <gtest/gtest.h>
#include <string>

#include "protocol/json_parse.h"

namespace llorch {
namespace {

using std::chrono::milliseconds;

const SteadyTime sent{};

StartedEvent started() {
  return {.job_id = "j1", .model = "m", .seed = 42, .prompt_tokens = 5, .cached_tokens = 2};
}

InferSession finished(StopReason reason) {
  InferSession session("j1", sent);
  EXPECT_TRUE(session.take(started(), sent + milliseconds{10}));
  EXPECT_TRUE(session.take(TokenEvent{.t = "Hé", .i = 0, .id = 7}, sent + milliseconds{85}));
  EXPECT_TRUE(session.take(TokenEvent{.t = "", .i = 1, .id = 8}, sent + milliseconds{95}));
  const EndEvent end{.tokens_out = 2, .stop_reason = reason, .decode_time_ms = 20, .t = "!"};
  EXPECT_TRUE(session.take(end, sent + milliseconds{100}));
  return session;
}

// clause: C-6
TEST(InferSession, JoinsTextAndMeasuresAsItsUserSeesIt) {
  const auto session = finished(StopReason::MAX_TOKENS);
  const auto& figures = session.figures();
  EXPECT_TRUE(session.ended());
  EXPECT_TRUE(session.verdict());
  EXPECT_EQ(figures.text, "Hé!");
  EXPECT_EQ(figures.tokens_out, 2);
  EXPECT_DOUBLE_EQ(figures.ttft_ms.value_or(0), 85);
  EXPECT_DOUBLE_EQ(figures.total_ms, 100);
  EXPECT_EQ(statistics_line(figures), "2 tokens, TTFT 85 ms, 100.0 tok/s, stop MAX_TOKENS");
}

TEST(InferSession, TakesARepeatedTokenOnceAndMissesNone) {
  InferSession session("j1", sent);
  EXPECT_EQ(session.take(TokenEvent{.t = "a", .i = 0}, sent), "a");
  EXPECT_EQ(session.take(TokenEvent{.t = "a", .i = 0}, sent), "");
  EXPECT_EQ(session.take(TokenEvent{.t = "b", .i = 1}, sent), "b");
  const auto gap = session.take(TokenEvent{.t = "d", .i = 3}, sent);
  ASSERT_FALSE(gap);
  EXPECT_EQ(gap.error().code, Code::internal);
  EXPECT_EQ(session.figures().text, "ab");
}

TEST(InferSession, AStreamThatStopsShortIsUnreachable) {
  InferSession session("j1", sent);
  ASSERT_TRUE(session.take(TokenEvent{.t = "a", .i = 0}, sent));
  EXPECT_FALSE(session.ended());
  const auto verdict = session.verdict();
  ASSERT_FALSE(verdict);
  EXPECT_EQ(exit_code(verdict.error().code), exit_unreachable);
}

TEST(InferSession, ACancelFromElsewhereIsNoSuccess) {
  const auto verdict = finished(StopReason::CANCELLED).verdict();
  ASSERT_FALSE(verdict);
  EXPECT_EQ(exit_code(verdict.error().code), exit_interrupted);
}

TEST(InferSession, AnErrorEventIsTheVerdict) {
  InferSession session("j1", sent);
  const ErrorEvent failed{.error = {.code = Code::backend_error, .message = "lost the device"}};
  ASSERT_TRUE(session.take(failed, sent));
  EXPECT_TRUE(session.ended());
  const auto verdict = session.verdict();
  ASSERT_FALSE(verdict);
  EXPECT_EQ(verdict.error().message, "lost the device");
}

TEST(InferSession, SaysWhatItWaitsFor) {
  InferSession session("j1", sent);
  EXPECT_EQ(session.waiting_for(), "waiting for a free slot");
  ASSERT_TRUE(session.take(started(), sent));
  EXPECT_EQ(session.waiting_for(), "reading the prompt");
  const MetricsEvent half{
      .phase = MetricsEvent::Phase::prefill, .prompt_done = 2, .prompt_total = 5};
  ASSERT_TRUE(session.take(half, sent));
  EXPECT_EQ(session.waiting_for(), "reading the prompt 2/5");
}

// clause: C-2
TEST(InferJson, HoldsTextFiguresAndTheErrorOfABrokenStream) {
  const auto whole = parse_json_object(infer_json(finished(StopReason::EOS).figures()));
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->at("version"), "1.0");
  EXPECT_EQ(whole->at("job_id"), "j1");
  EXPECT_EQ(whole->at("text"), "Hé!");
  EXPECT_EQ(whole->at("stop_reason"), "EOS");
  EXPECT_EQ(whole->at("tokens_out"), 2);
  EXPECT_EQ(whole->at("seed"), 42);
  EXPECT_EQ(whole->at("ttft_ms").to_number<double>(), 85);
  EXPECT_FALSE(whole->contains("error"));

  InferSession cut("j2", sent);
  ASSERT_TRUE(cut.take(TokenEvent{.t = "a\"\n", .i = 0}, sent));
  cut.broke({.code = Code::unreachable, .message = "reset"}, sent);
  const auto part = parse_json_object(infer_json(cut.figures()));
  ASSERT_TRUE(part);
  EXPECT_EQ(part->at("text"), "a\"\n");
  EXPECT_TRUE(part->at("stop_reason").is_null());
  EXPECT_EQ(part->at("error").at("code"), "UNREACHABLE");
}

TEST(TerminalSafe, LetsNoControlSequenceThrough) {
  struct Case {
    const char* name;
    std::string_view text, want;
  };
  const Case cases[] = {{"plain", "a b\n\tc", "a b\n\tc"},
                        {"other scripts", "é 漢 🙂", "é 漢 🙂"},
                        {"escape sequence", "a\x1b[2Jb", "a[2Jb"},
                        {"8-bit control",
                         "a\xC2\x9B"
                         "2Jb",
                         "a2Jb"},
                        {"no-break space",
                         "a\xC2\xA0"
                         "b",
                         "a\xC2\xA0"
                         "b"},
                        {"carriage return, bell, delete",
                         "a\r\a\x7F"
                         "b",
                         "ab"}};
  for (const auto& [name, text, want] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(terminal_safe(text), want);
  }
}

}  // namespace
}  // namespace llorch
