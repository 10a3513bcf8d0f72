#include <gtest/gtest.h>

#include "figures.h"
#include "prompt_text.h"
#include "stream_reader.h"

namespace llorch::bench {
namespace {

using std::chrono::milliseconds;

TEST(Samples, GivesValuesThatWereSeen) {
  Samples samples;
  EXPECT_EQ(samples.percentile(50), 0);
  for (int i = 100; i >= 1; --i) samples.add(i);
  EXPECT_EQ(samples.percentile(50), 50);
  EXPECT_EQ(samples.percentile(99), 99);
  EXPECT_EQ(samples.percentile(0), 1);
  EXPECT_EQ(samples.max(), 100);
}

TEST(PromptOf, SharesPrefixesInTurnAndNothingElse) {
  EXPECT_EQ(prompt_of({.prompt_words = 2, .prompt_repeats = 3}, 0),
            prompt_of({.prompt_words = 2}, 0) + ". " + prompt_of({.prompt_words = 2}, 0) + ". " +
                prompt_of({.prompt_words = 2}, 0));
  const LoadOptions options{.prompt_words = 10, .shared_prefix_words = 50, .prefixes = 2};
  const auto head = [](const std::string& text) { return text.substr(0, 120); };
  EXPECT_EQ(prompt_of(options, 0), prompt_of(options, 0));
  EXPECT_EQ(head(prompt_of(options, 0)), head(prompt_of(options, 2)));
  EXPECT_NE(prompt_of(options, 0), prompt_of(options, 2));
  EXPECT_NE(head(prompt_of(options, 0)), head(prompt_of(options, 1)));
  EXPECT_EQ(words_of(7, 3).find("  "), std::string::npos);
}

TEST(RequestBody, IsWhatTheRouteWants) {
  LoadOptions options{.model = "m", .seed = 3, .ignore_eos = true};
  EXPECT_EQ(request_body(options, "a \"b\"", 5),
            R"({"model":"m","messages":[{"role":"user","content":"a \"b\""}],"max_tokens":5,)"
            R"("seed":3,"temperature":0,"stream":true,"stream_options":{"include_usage":true},)"
            R"("ignore_eos":true})");
  options.route = Route::completions;
  EXPECT_TRUE(request_body(options, "a", 5).starts_with(R"({"model":"m","prompt":"a",)"));
  options.route = Route::tasks;
  EXPECT_EQ(
      request_body(options, "a", 5),
      R"({"model":"m","prompt":"a","max_tokens":5,"seed":3,"temperature":0,"ignore_eos":true})");
}

TEST(CarriesText, TellsTokensFromOtherFrames) {
  struct Case {
    const char* name;
    std::string_view frame;
    bool want;
  };
  const Case cases[] = {
      {"chat token", R"({"choices":[{"delta":{"content":" a"}}]})", true},
      {"spaces in the JSON", R"({"choices": [{"delta": {"content": "a"}}]})", true},
      {"completion token", R"({"choices":[{"text":"a"}]})", true},
      {"role with empty content", R"({"choices":[{"delta":{"role":"a","content":""}}]})", false},
      {"role with null", R"({"choices":[{"delta":{"role":"a","content":null}}]})", false},
      {"finish", R"({"choices":[{"delta":{},"finish_reason":"length"}]})", false}};
  for (const auto& [name, frame, want] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(carries_text(frame), want);
  }
}

TEST(StreamReader, TimesWritesAndBelievesTheUsageFrame) {
  const SteadyTime start{};
  StreamReader reader(start);
  const auto at = [&](int ms) { return start + milliseconds(ms); };
  const std::string_view token = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
  ASSERT_TRUE(reader.feed("data: {\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\n", at(5)));
  EXPECT_EQ(reader.ttft_ms(), std::nullopt);
  ASSERT_TRUE(reader.feed(token, at(20)));
  ASSERT_TRUE(reader.feed(token.substr(0, 9), at(25)));  // half a frame is no token
  ASSERT_TRUE(reader.feed(std::string(token.substr(9)) + std::string(token), at(40)));
  EXPECT_EQ(reader.ttft_ms(), 20);
  EXPECT_EQ(reader.frames(), 3u);
  const auto gaps = reader.take_gaps();
  EXPECT_EQ(gaps.count(), 1u);
  EXPECT_EQ(gaps.max(), 20);
  ASSERT_TRUE(
      reader.feed("data: {\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":5}}\n\n"
                  "data: [DONE]\n\n",
                  at(50)));
  EXPECT_TRUE(reader.done());
  EXPECT_EQ(reader.tokens_out(), 5u);
  EXPECT_EQ(reader.prompt_tokens(), 7u);
  EXPECT_EQ(reader.tokens_per_s(), 4 * 1000 / 20.0);
}

TEST(StreamReader, FollowsTheEventsOfATask) {
  StreamReader reader(SteadyTime{});
  ASSERT_TRUE(reader.feed("event: queued\ndata: {}\n\nevent: token\ndata: {\"t\":\"a\"}\n\n",
                          SteadyTime{} + milliseconds(3)));
  EXPECT_EQ(reader.ttft_ms(), 3);
  EXPECT_FALSE(reader.done());
  ASSERT_TRUE(reader.feed("event: end\ndata: {\"tokens_out\":9}\n\n", SteadyTime{}));
  EXPECT_TRUE(reader.done());
  EXPECT_EQ(reader.tokens_out(), 9u);
  EXPECT_FALSE(reader.feed("event: error\ndata: {\"error\":{}}\n\n", SteadyTime{}));
}

TEST(StreamReader, SeesAnErrorInsideTheStream) {
  StreamReader reader(SteadyTime{});
  const auto fed = reader.feed("data: {\"error\":{\"message\":\"x\"}}\n\n", SteadyTime{});
  ASSERT_FALSE(fed);
  EXPECT_EQ(fed.error().code, Code::backend_error);
}

TEST(Figures, AreOneJsonObject) {
  Figures figures{.wall_s = 2, .tokens_out = 100};
  figures.errors["http_503"] = 3;
  const auto json = to_json(figures);
  EXPECT_NE(json.find(R"("tokens_per_s":50)"), std::string::npos) << json;
  EXPECT_NE(json.find(R"("errors":{"http_503":3})"), std::string::npos) << json;
  EXPECT_EQ(json.find("injected"), std::string::npos);
}

}  // namespace
}  // namespace llorch::bench
