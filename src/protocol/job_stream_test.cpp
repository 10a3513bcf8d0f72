#include "protocol/job_stream.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "fakes/job_frames.h"

namespace llorch {
namespace {

Ended ended(StopReason reason, std::int64_t tokens_out, std::string tail = "") {
  Ended end;
  end.reason = reason;
  end.tokens_out = tokens_out;
  end.tail = std::move(tail);
  end.prefill_ms = 1.5;
  end.decode_time_ms = 20;
  return end;
}

template <class Event>
Event decoded(const SseEvent& event) {
  const auto got = decode_job_event(event);
  EXPECT_TRUE(got.has_value() && got->has_value());
  return std::get<Event>(got->value_or(Event{}));
}

// clause: W-19, W-20
TEST(JobStreamWriter, WritesTheContractsEvents) {
  JobStreamWriter writer;
  std::string out;
  writer.started({"j1", "m", 42, "2025-01-31T12:34:56.789Z", 5, 2}, out);
  writer.metrics({.phase = MetricsEvent::Phase::prefill,
                  .prompt_done = 3,
                  .prompt_total = 5,
                  .engine_step = 9},
                 out);
  writer.token(token(0, 1234, "Hel"), out);
  writer.ended(ended(StopReason::MAX_TOKENS, 1), out);
  EXPECT_EQ(
      out,
      "id: 1\nevent: started\n"
      R"(data: {"type":"started","job_id":"j1","model":"m","seed":42,)"
      R"("started_at":"2025-01-31T12:34:56.789Z","prompt_tokens":5,"cached_tokens":2})"
      "\n\nevent: metrics\n"
      R"(data: {"type":"metrics","phase":"prefill","prompt_done":3,"prompt_total":5,"engine_step":9})"
      "\n\nid: 2:1234\nevent: token\n"
      R"(data: {"type":"token","t":"Hel","i":0,"id":1234})"
      "\n\nid: 3\nevent: end\n"
      R"(data: {"type":"end","tokens_out":1,"stop_reason":"MAX_TOKENS","prefill_ms":1.5,"decode_time_ms":20})"
      "\n\n");
}

// clause: W-22
TEST(JobStreamWriter, ConcatenatedTextIsAlwaysWhole) {
  struct Case {
    const char* name;
    std::vector<TokenOut> tokens;
    std::string tail;
    std::vector<std::string> want;
  };
  const Case cases[] = {
      {"nothing held", {token(0, 1, "a"), token(1, 2, "b")}, "", {"a", "b"}},
      {"held, then said", {token(0, 1, "", true), token(1, 2, "ab")}, "", {"", "ab"}},
      {"held to the end", {token(0, 1, "a"), token(1, 2, "", true)}, "b", {"a", "b"}},
      {"two held to the end", {token(0, 1, "", true), token(1, 2, "", true)}, "ab", {"", "ab"}},
      {"partly held", {token(0, 1, "a", true)}, "b", {"ab"}},
      {"held and never said", {token(0, 1, "a"), token(1, 2, "", true)}, "", {"a", ""}}};
  for (const auto& [name, tokens, tail, want] : cases) {
    SCOPED_TRACE(name);
    JobStreamWriter writer;
    std::string out;
    for (const auto& event : tokens) writer.token(event, out);
    writer.ended(ended(StopReason::EOS, 2, tail), out);
    const auto events = frames(out);
    ASSERT_EQ(events.size(), want.size() + 1);
    for (std::size_t i = 0; i < want.size(); ++i) {
      const auto event = decoded<TokenEvent>(events[i]);
      EXPECT_EQ(event.t, want[i]);
      EXPECT_EQ(event.i, static_cast<std::int64_t>(i));
    }
    EXPECT_EQ(decoded<EndEvent>(events.back()).t, "");
  }
}

TEST(JobStreamWriter, GivesTheTailToTheEndWhenNoTokenIsLeftForIt) {
  JobStreamWriter writer(3);
  std::string out;
  writer.ended(ended(StopReason::EOS, 3, "z"), out);
  const auto events = frames(out);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].id, "5");
  EXPECT_EQ(decoded<EndEvent>(events[0]).t, "z");
}

// clause: W-27
TEST(JobStreamWriter, CountsOnAfterAResume) {
  JobStreamWriter writer(4);
  std::string out;
  writer.token(token(4, 7, "x"), out);
  writer.ended(ended(StopReason::EOS, 5), out);
  const auto events = frames(out);
  EXPECT_EQ(events.at(0).id, "6:7");
  EXPECT_EQ(events.at(1).id, "7");
}

// clause: W-20
TEST(JobStreamWriter, NamesTheStopSequence) {
  JobStreamWriter writer;
  std::string out;
  auto end = ended(StopReason::STOP_SEQUENCE, 0);
  end.stop_sequence = "\nQ:";
  writer.ended(end, out);
  const auto event = decoded<EndEvent>(frames(out).at(0));
  EXPECT_EQ(event.stop_reason, StopReason::STOP_SEQUENCE);
  EXPECT_EQ(event.stop_sequence_matched, "\nQ:");
}

TEST(JobStreamWriter, SaysWhatItHeldBeforeAnError) {
  JobStreamWriter writer;
  std::string out;
  writer.token(token(0, 9, "", true), out);
  EXPECT_EQ(out, "");
  writer.failed({.code = Code::backend_error, .message = "gone"}, "c1", out);
  const auto events = frames(out);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].id, "2:9");
  EXPECT_EQ(events[1].id, "3");
  const auto error = decoded<ErrorEvent>(events[1]);
  EXPECT_EQ(error.error.code, Code::backend_error);
  EXPECT_EQ(error.error.message, "gone");
  EXPECT_EQ(error.correlation_id, "c1");
}

TEST(DecodeJobEvent, ReadsBackWhatWasWritten) {
  JobStreamWriter writer;
  std::string out;
  writer.started({"j\"", "m", 18446744073709551615U, "t", 5, 2}, out);
  writer.metrics({.phase = MetricsEvent::Phase::decode, .engine_step = 3, .tokens_out = 8}, out);
  const auto events = frames(out);
  const auto started = decoded<StartedEvent>(events.at(0));
  EXPECT_EQ(started.job_id, "j\"");
  EXPECT_EQ(started.seed, 18446744073709551615U);
  EXPECT_EQ(started.cached_tokens, 2);
  const auto metrics = decoded<MetricsEvent>(events.at(1));
  EXPECT_EQ(metrics.phase, MetricsEvent::Phase::decode);
  EXPECT_EQ(metrics.tokens_out, 8);
}

TEST(DecodeJobEvent, RefusesWhatIsNotItsType) {
  struct Case {
    const char* name;
    SseEvent event;
    bool want;
  };
  const Case cases[] = {{"token without id", {"token", R"({"t":"a","i":0})", ""}, false},
                        {"token text is a number", {"token", R"({"t":1,"i":0,"id":1})", ""}, false},
                        {"not JSON", {"end", "end", ""}, false},
                        {"end of another reason", {"end", R"({"stop_reason":"X"})", ""}, false},
                        {"negative index", {"token", R"({"t":"","i":-1,"id":1})", ""}, false},
                        {"unknown field", {"token", R"({"t":"","i":1,"id":1,"x":2})", ""}, true},
                        {"error that is not JSON", {"error", "oops", ""}, true}};
  for (const auto& [name, event, want] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(decode_job_event(event).has_value(), want);
  }
}

TEST(DecodeJobEvent, SkipsTypesOfANewerWorker) {
  const auto got = decode_job_event({"novelty", "{}", ""});
  ASSERT_TRUE(got.has_value());
  EXPECT_FALSE(got->has_value());
}

TEST(ParseStreamPosition, TakesSeqAndTokenIds) {
  struct Case {
    const char* name;
    std::string_view text;
    std::optional<std::vector<Token>> want;
  };
  const Case cases[] = {{"seq only", "12", std::vector<Token>{}},
                        {"one id", "12:5", std::vector<Token>{5}},
                        {"several", "12:5,6,0", std::vector<Token>{5, 6, 0}},
                        {"empty", "", std::nullopt},
                        {"negative", "-1", std::nullopt},
                        {"no id", "12:", std::nullopt},
                        {"negative id", "12:-5", std::nullopt},
                        {"comma first", "12,5", std::nullopt},
                        {"two colons", "12:5:6", std::nullopt},
                        {"too large", "99999999999999999999", std::nullopt},
                        {"id too large", "1:2147483648", std::nullopt},
                        {"trailing", "12:5,", std::nullopt}};
  for (const auto& [name, text, want] : cases) {
    SCOPED_TRACE(name);
    const auto got = parse_stream_position(text);
    ASSERT_EQ(got.has_value(), want.has_value());
    if (!want) continue;
    EXPECT_EQ(got->seq, 12);
    EXPECT_EQ(got->token_ids, *want);
  }
}

}  // namespace
}  // namespace llorch
