#include "protocol/execute_request.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "base/limits.h"

namespace llorch {
namespace {

std::vector<std::string> fields_of(const Error& error) {
  std::vector<std::string> fields;
  for (const auto& violation : error.violations) fields.push_back(violation.field);
  std::ranges::sort(fields);
  return fields;
}

std::string with(const std::string& field) {
  return R"({"job_id":"j","prompt":"p",)" + field + "}";
}

// clause: W-15
TEST(DecodeExecute, FillsTheDefaults) {
  const auto got = decode_execute(R"({"job_id":"j1","prompt":"Hello"})");
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->job.id.value, "j1");
  EXPECT_EQ(std::get<std::string>(got->job.prompt), "Hello");
  EXPECT_EQ(got->job.max_tokens, 512U);
  EXPECT_EQ(got->job.attempt, 0U);
  EXPECT_FALSE(got->job.sampling.temperature.has_value());
  EXPECT_FALSE(got->job.sampling.seed.has_value());
  EXPECT_FALSE(got->job.parse_chat);
  EXPECT_FALSE(got->relay.has_value());
}

// clause: W-15
TEST(DecodeExecute, TakesEveryRangeToItsEdge) {
  struct Case {
    const char* name;
    std::string field;
    bool want;
  };
  const std::string stop_256(256, 's');
  const std::string id_256(256, 'i');
  const Case cases[] = {
      {"temperature 0", R"("temperature":0)", true},
      {"temperature 2", R"("temperature":2.0)", true},
      {"temperature above", R"("temperature":2.0000001)", false},
      {"temperature below", R"("temperature":-0.1)", false},
      {"temperature huge", R"("temperature":1e999)", false},
      {"temperature text", R"("temperature":"1")", false},
      {"top_p 0", R"("top_p":0)", true},
      {"top_p 1", R"("top_p":1)", true},
      {"top_p above", R"("top_p":1.01)", false},
      {"min_p 1", R"("min_p":1)", true},
      {"min_p below", R"("min_p":-1)", false},
      {"top_k 0", R"("top_k":0)", true},
      {"top_k -1", R"("top_k":-1)", false},
      {"top_k half", R"("top_k":1.5)", false},
      {"top_k past 32 bits", R"("top_k":4294967296)", false},
      {"repetition_penalty 0", R"("repetition_penalty":0)", false},
      {"repetition_penalty least", R"("repetition_penalty":0.001)", true},
      {"repetition_penalty 2", R"("repetition_penalty":2)", true},
      {"repetition_penalty above", R"("repetition_penalty":2.1)", false},
      {"max_tokens 1", R"("max_tokens":1)", true},
      {"max_tokens 0", R"("max_tokens":0)", false},
      {"max_tokens as 1e2", R"("max_tokens":1e2)", true},
      {"max_tokens as 1e300", R"("max_tokens":1e300)", false},
      {"max_tokens true", R"("max_tokens":true)", false},
      {"seed largest", R"("seed":18446744073709551615)", true},
      {"seed past the largest", R"("seed":18446744073709551616)", false},
      {"seed negative", R"("seed":-1)", false},
      {"stop 16", R"("stop":["a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a"])",
       true},
      {"stop 17", R"("stop":["a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a"])",
       false},
      {"stop of 256 bytes", R"("stop":[")" + stop_256 + R"("])", true},
      {"stop of 257 bytes", R"("stop":[")" + stop_256 + R"(s"])", false},
      {"stop empty", R"("stop":[""])", false},
      {"stop not text", R"("stop":[1])", false},
      {"ignore_eos", R"("ignore_eos":true)", true},
      {"ignore_eos as 1", R"("ignore_eos":1)", false},
      {"null is absent", R"("temperature":null,"seed":null,"stop":null)", true},
      {"job_id of 256", R"("job_id":")" + id_256 + R"(")", true},
      {"job_id of 257", R"("job_id":"i)" + id_256 + R"(")", false},
      {"job_id empty", R"("job_id":"")", false},
      {"job_id with line break", R"("job_id":"a\nb")", false},
      {"prompt empty", R"("prompt":"")", false},
      {"prompt with NUL", R"("prompt":"a\u0000b")", true},
      {"resume_tokens", R"("resume_tokens":[0,1,2147483647])", true},
      {"resume_tokens negative", R"("resume_tokens":[-1])", false},
      {"attempt", R"("attempt":4294967295)", true},
      {"attempt past 32 bits", R"("attempt":4294967296)", false},
      {"cache_scope", R"("cache_scope":"tenant")", true},
      {"json_object", R"("response_format":{"type":"json_object"})", true},
      {"json_schema", R"("response_format":{"type":"json_schema","json_schema":{"schema":{}}})",
       true},
      {"json_schema without schema", R"("response_format":{"type":"json_schema"})", false},
      {"format unknown", R"("response_format":{"type":"xml"})", false},
      {"grammar", R"("grammar":"root ::= \"a\"")", true},
      {"grammar and format",
       R"("grammar":"root ::= \"a\"","response_format":{"type":"json_object"})", false},
      {"grammar empty", R"("grammar":"")", false}};
  for (const auto& [name, field, want] : cases) {
    SCOPED_TRACE(name);
    const auto got = decode_execute(with(field));
    EXPECT_EQ(got.has_value(), want);
    if (want || got.has_value()) continue;
    EXPECT_EQ(got.error().code, Code::invalid_request);
    EXPECT_EQ(got.error().violations.size(), 1U);
  }
}

// clause: W-15
TEST(DecodeExecute, BoundsThePromptAtOneMebibyte) {
  const auto body = [](std::size_t bytes) {
    return R"({"job_id":"j","prompt":")" + std::string(bytes, 'x') + "\"}";
  };
  EXPECT_TRUE(decode_execute(body(limits::prompt_bytes_max)).has_value());
  EXPECT_FALSE(decode_execute(body(limits::prompt_bytes_max + 1)).has_value());
  const auto large = decode_execute(body(limits::body_bytes_max));
  ASSERT_FALSE(large.has_value());
  EXPECT_EQ(large.error().code, Code::too_large);
}

// clause: E-3
TEST(DecodeExecute, ListsEveryViolationAtOnce) {
  const auto got = decode_execute(
      R"({"temperature":9,"top_p":2,"seed":-1,"stop":"x","surprise":1,"max_tokens":0})");
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(fields_of(got.error()),
            (std::vector<std::string>{"job_id", "max_tokens", "prompt", "seed", "stop", "surprise",
                                      "temperature", "top_p"}));
}

// At the top they were refused, one level down ignored: a misspelt tool_call_id went unnoticed.
// clause: W-15
TEST(DecodeExecute, RefusesUnknownFieldsInsideMessagesToo) {
  struct Case {
    const char* name;
    std::string message;
    std::vector<std::string> fields;
  };
  const std::string tool = R"({"role":"assistant","tool_calls":[{"id":"c","type":"function",)";
  const Case cases[] = {
      {"all known",
       R"({"role":"tool","content":[{"type":"text","text":"a"}],"name":"n","tool_call_id":"c"})",
       {}},
      {"a call", tool + R"("function":{"name":"f","arguments":"{}"}}]})", {}},
      {"null is absent", R"({"role":"user","content":"a","tool_calls":null})", {}},
      {"in a message", R"({"role":"user","content":"a","nmae":"n"})", {"messages[0].nmae"}},
      {"in a part",
       R"({"role":"user","content":[{"type":"text","text":"a","x":1}]})",
       {"messages[0].content[0].x"}},
      {"in a call", tool + R"("x":1,"function":{"name":"f"}}]})", {"messages[0].tool_calls[0].x"}},
      {"in a function",
       tool + R"("function":{"name":"f","x":1}}]})",
       {"messages[0].tool_calls[0].function.x"}}};
  for (const auto& [name, message, fields] : cases) {
    SCOPED_TRACE(name);
    const auto got = decode_execute(R"({"job_id":"j","messages":[)" + message + "]}");
    EXPECT_EQ(got ? std::vector<std::string>() : fields_of(got.error()), fields);
    const auto relayed = decode_execute(
        R"({"job_id":"j","openai":{"route":"/v1/chat/completions","completion_id":"c",)"
        R"("body":{"messages":[)" +
        message + "]}}}");
    EXPECT_TRUE(relayed) << "on /v1 they are ignored";
  }
}

// clause: E-3
TEST(DecodeExecute, NeverQuotesThePrompt) {
  const std::string secret = "SECRET";
  for (const auto& body :
       {R"({"job_id":7,"prompt":["SECRET"]})", R"({"job_id":"j","messages":"SECRET"})",
        R"({"job_id":"j","messages":[{"role":"SECRET","content":{"SECRET":1}}]})",
        R"({"job_id":"j","prompt":"SECRET","stop":["SECRET",1],"max_tokens":"SECRET"})"}) {
    SCOPED_TRACE(body);
    const auto got = decode_execute(body);
    ASSERT_FALSE(got.has_value());
    EXPECT_EQ(got.error().message.find(secret), std::string::npos);
    for (const auto& violation : got.error().violations) {
      EXPECT_EQ(violation.message.find(secret), std::string::npos);
      EXPECT_EQ(violation.value.value_or("").find(secret), std::string::npos);
    }
  }
}

TEST(DecodeExecute, WantsExactlyOneOfPromptAndMessages) {
  EXPECT_FALSE(decode_execute(R"({"job_id":"j"})").has_value());
  EXPECT_FALSE(
      decode_execute(R"({"job_id":"j","prompt":"p","messages":[{"role":"user","content":"c"}]})")
          .has_value());
  const auto got = decode_execute(R"({"job_id":"j","messages":[{"role":"user","content":"c"}]})");
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(std::get<ChatPrompt>(got->job.prompt).messages.front().content, "c");
}

TEST(DecodeExecute, RefusesFieldsOfOtherRoutes) {
  for (const char* const name : {"tools", "n", "stream", "model", "priority"}) {
    SCOPED_TRACE(name);
    const auto got = decode_execute(with("\"" + std::string(name) + "\":1"));
    ASSERT_FALSE(got.has_value());
    EXPECT_EQ(got.error().violations.front().field, name);
    EXPECT_EQ(got.error().violations.front().constraint, "known field");
  }
}

// clause: W-28
TEST(DecodeExecute, ReadsARelayedOpenAiBody) {
  const auto got = decode_execute(
      R"({"job_id":"j","attempt":2,"cache_scope":"t","resume_tokens":[5,6],)"
      R"("openai":{"route":"/v1/chat/completions","completion_id":"chatcmpl-1","created":99,)"
      R"("body":{"model":"m","stream":true,"stream_options":{"include_usage":true},)"
      R"("unknown":1,"messages":[{"role":"user","content":"hi"}],"temperature":0.5}}})");
  ASSERT_TRUE(got.has_value()) << got.error().message;
  ASSERT_TRUE(got->relay.has_value());
  const Relay relay = got->relay.value_or(Relay{});
  EXPECT_EQ(relay.completion_id, "chatcmpl-1");
  EXPECT_EQ(relay.created, 99);
  EXPECT_TRUE(relay.stream);
  EXPECT_TRUE(relay.include_usage);
  EXPECT_EQ(relay.model, "m");
  EXPECT_EQ(got->job.id.value, "j");
  EXPECT_EQ(got->job.attempt, 2U);
  EXPECT_EQ(got->job.cache_scope, "t");
  EXPECT_EQ(got->job.resume_tokens, (std::vector<Token>{5, 6}));
  EXPECT_EQ(got->job.sampling.temperature, 0.5);
  EXPECT_FALSE(got->job.max_tokens.has_value()) << "on /v1 absent means to the end of the context";
  EXPECT_TRUE(got->job.parse_chat);
}

// clause: W-28
TEST(DecodeExecute, RefusesABrokenRelay) {
  const auto got = decode_execute(
      R"({"job_id":"j","temperature":1,"openai":{"route":"/v1/embeddings","body":{"n":2},"x":1}})");
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(fields_of(got.error()),
            (std::vector<std::string>{"openai.completion_id", "openai.route", "openai.x",
                                      "temperature"}));
  const auto inner = decode_execute(
      R"({"job_id":"j","openai":{"route":"/v1/completions","completion_id":"c","body":{"n":2}}})");
  ASSERT_FALSE(inner.has_value());
  EXPECT_EQ(fields_of(inner.error()),
            (std::vector<std::string>{"openai.body.n", "openai.body.prompt"}));
}

TEST(EncodeExecute, IsDecodedToTheSameJob) {
  JobRequest job;
  job.id = {"j \"1\""};
  job.attempt = 3;
  job.cache_scope = "scope";
  job.resume_tokens = {1, 2};
  job.prompt = ChatPrompt{.messages = {{.role = "system",
                                        .content = "be\nbrief",
                                        .reasoning_content = {},
                                        .tool_calls = {},
                                        .tool_call_id = {},
                                        .name = {}},
                                       {.role = "assistant",
                                        .content = "",
                                        .reasoning_content = "hm",
                                        .tool_calls = {{"c1", "f", "{\"a\":1}"}},
                                        .tool_call_id = {},
                                        .name = "n"}},
                          .tools = {},
                          .tool_choice = {},
                          .template_kwargs_json = {}};
  job.max_tokens = 7;
  job.sampling.temperature = 0.25;
  job.sampling.top_k = 40;
  job.sampling.seed = 18446744073709551615U;
  job.stop = {"a", "\"b\""};
  job.format = {.kind = OutputFormat::Kind::json_schema, .source = R"({"type":"object"})"};
  job.ignore_eos = true;
  job.deterministic = true;
  const auto got = decode_execute(encode_execute(job));
  ASSERT_TRUE(got.has_value()) << got.error().message;
  const JobRequest& back = got->job;
  EXPECT_EQ(back.id, job.id);
  EXPECT_EQ(back.attempt, job.attempt);
  EXPECT_EQ(back.cache_scope, job.cache_scope);
  EXPECT_EQ(back.resume_tokens, job.resume_tokens);
  EXPECT_EQ(back.max_tokens, job.max_tokens);
  EXPECT_EQ(back.sampling.temperature, job.sampling.temperature);
  EXPECT_EQ(back.sampling.top_k, job.sampling.top_k);
  EXPECT_EQ(back.sampling.seed, job.sampling.seed);
  EXPECT_EQ(back.stop, job.stop);
  EXPECT_EQ(back.format.source, job.format.source);
  EXPECT_TRUE(back.ignore_eos && back.deterministic);
  const auto& messages = std::get<ChatPrompt>(back.prompt).messages;
  ASSERT_EQ(messages.size(), 2U);
  EXPECT_EQ(messages[0].content, "be\nbrief");
  ASSERT_EQ(messages[1].tool_calls.size(), 1U);
  EXPECT_EQ(messages[1].tool_calls[0].arguments_json, "{\"a\":1}");
  EXPECT_EQ(messages[1].reasoning_content, "hm");
}

TEST(EncodeExecuteRelay, IsDecodedToTheSameRelay) {
  JobRequest job;
  job.id = {"j"};
  job.resume_tokens = {9};
  const auto got = decode_execute(
      encode_execute_relay(job, OpenAiRoute::completions, R"({"prompt":"p"})", "cmpl-1", 5));
  ASSERT_TRUE(got.has_value()) << got.error().message;
  const Relay relay = got->relay.value_or(Relay{});
  EXPECT_EQ(relay.route, OpenAiRoute::completions);
  EXPECT_EQ(relay.completion_id, "cmpl-1");
  EXPECT_EQ(std::get<std::string>(got->job.prompt), "p");
  EXPECT_EQ(got->job.resume_tokens, job.resume_tokens);
}

}  // namespace
}  // namespace llorch
