#include "protocol/openai_request.h"

#include <gtest/gtest.h>
#include <string>

#include "base/limits.h"
#include "protocol/utf8.h"

namespace llorch {
namespace {

const std::string hello = R"("messages":[{"role":"user","content":"Hello"}])";

std::string chat_with(const std::string& field) {
  return "{" + hello + "," + field + "}";
}

const ChatPrompt& chat_of(const Result<OpenAiRequest>& got) {
  return std::get<ChatPrompt>(got->job.prompt);
}

// They were joined without a line break: not the prompt that llama-server makes of them.
// clause: W-33
TEST(DecodeChat, JoinsTextPartsByLineBreaks) {
  struct Case {
    const char* name;
    std::string parts;
    std::string_view content;
  };
  const auto part = [](const std::string& text) {
    return R"({"type":"text","text":")" + text + "\"}";
  };
  const Case cases[] = {{"none", "", ""},
                        {"one", part("a"), "a"},
                        {"two", part("a") + "," + part("b"), "a\nb"},
                        {"an empty one first", part("") + "," + part("b"), "b"},
                        {"an empty one last", part("a") + "," + part(""), "a\n"},
                        {"bare strings", R"("a","b")", "a\nb"}};
  for (const auto& [name, parts, content] : cases) {
    SCOPED_TRACE(name);
    const auto got =
        decode_chat_request(R"({"messages":[{"role":"user","content":[)" + parts + "]}]}");
    ASSERT_TRUE(got.has_value()) << got.error().message;
    EXPECT_EQ(chat_of(got).messages[0].content, content);
  }
}

TEST(DecodeChat, TakesWhatTheSdkSends) {
  const auto got = decode_chat_request(
      R"({"model":"gpt-4o","messages":[{"role":"developer","content":"brief"},)"
      R"({"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},)"
      R"({"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function",)"
      R"("function":{"name":"f","arguments":"{}"}}]},)"
      R"({"role":"tool","tool_call_id":"c1","content":"42"}],)"
      R"("stream":true,"stream_options":{"include_usage":true},"max_tokens":5,)"
      R"("max_completion_tokens":9,"stop":"END","seed":-3,"n":1,"logprobs":true,)"
      R"("top_logprobs":2,"logit_bias":{"50256":-100},"presence_penalty":1.5,)"
      R"("tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],)"
      R"("tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false,)"
      R"("chat_template_kwargs":{"enable_thinking":false},"user":"u","store":true})");
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_EQ(got->model, "gpt-4o");
  EXPECT_TRUE(got->stream && got->include_usage);
  EXPECT_EQ(got->job.max_tokens, 9U) << "OpenAI's newer name wins";
  EXPECT_EQ(got->job.stop, std::vector<std::string>{"END"});
  EXPECT_EQ(got->job.sampling.seed, static_cast<std::uint64_t>(-3));
  EXPECT_EQ(got->job.top_logprobs, 2U);
  EXPECT_EQ(got->job.sampling.logit_bias.front(), (std::pair<Token, double>{50256, -100}));
  EXPECT_TRUE(got->job.parse_chat);
  const auto& chat = chat_of(got);
  ASSERT_EQ(chat.messages.size(), 4U);
  EXPECT_EQ(chat.messages[1].content, "a\nb");
  EXPECT_EQ(chat.messages[2].tool_calls.front().name, "f");
  EXPECT_EQ(chat.messages[3].tool_call_id, "c1");
  EXPECT_EQ(chat.tools.front().parameters_json, R"({"type":"object"})");
  EXPECT_EQ(chat.tool_choice.kind, ToolChoice::Kind::function);
  EXPECT_FALSE(chat.parallel_tool_calls);
  EXPECT_EQ(chat.template_kwargs_json.at("enable_thinking"), "false");
}

// clause: W-33
TEST(DecodeChat, NamesTheFieldThatIsWrong) {
  struct Case {
    const char* name;
    std::string body;
    std::string field;
  };
  const Case cases[] = {
      {"no messages", "{}", "messages"},
      {"no message", R"({"messages":[]})", "messages"},
      {"message is text", R"({"messages":["hi"]})", "messages[0]"},
      {"role unknown", R"({"messages":[{"role":"boss","content":"a"}]})", "messages[0].role"},
      {"no content", R"({"messages":[{"role":"user"}]})", "messages[0].content"},
      {"content null", R"({"messages":[{"role":"user","content":null}]})", "messages[0].content"},
      {"image part",
       R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]})",
       "messages[0].content"},
      {"part unknown", R"({"messages":[{"role":"user","content":[{"type":"x"}]}]})",
       "messages[0].content"},
      {"tool_calls of a user",
       R"({"messages":[{"role":"user","content":"a","tool_calls":[{"function":{"name":"f"}}]}]})",
       "messages[0].tool_calls"},
      {"tool call without name",
       R"({"messages":[{"role":"assistant","tool_calls":[{"function":{}}]}]})",
       "messages[0].tool_calls[0].function.name"},
      {"n 2", chat_with(R"("n":2)"), "n"},
      {"temperature", chat_with(R"("temperature":3)"), "temperature"},
      {"presence_penalty", chat_with(R"("presence_penalty":-2.1)"), "presence_penalty"},
      {"logit_bias key", chat_with(R"("logit_bias":{"a":1})"), "logit_bias"},
      {"logit_bias value", chat_with(R"("logit_bias":{"1":101})"), "logit_bias"},
      {"top_logprobs alone", chat_with(R"("top_logprobs":3)"), "top_logprobs"},
      {"top_logprobs 21", chat_with(R"("logprobs":true,"top_logprobs":21)"), "top_logprobs"},
      {"tool without function", chat_with(R"("tools":[{"type":"function"}])"), "tools[0].function"},
      {"tool of another type", chat_with(R"("tools":[{"type":"web_search"}])"), "tools[0].type"},
      {"tool_choice word", chat_with(R"("tool_choice":"maybe")"), "tool_choice"},
      {"tool_choice without tools", chat_with(R"("tool_choice":"required")"), "tool_choice"},
      {"tool_choice of no tool",
       chat_with(R"("tool_choice":{"type":"function","function":{"name":"g"}})"), "tool_choice"},
      {"legacy functions", chat_with(R"("functions":[])"), "functions"},
      {"kwargs not on the list",
       chat_with(R"("chat_template_kwargs":{"add_generation_prompt":false})"),
       "chat_template_kwargs"},
      {"kwargs of another type", chat_with(R"("chat_template_kwargs":{"enable_thinking":"no"})"),
       "chat_template_kwargs"},
      {"stream text", chat_with(R"("stream":"yes")"), "stream"}};
  for (const auto& [name, body, field] : cases) {
    SCOPED_TRACE(name);
    const auto got = decode_chat_request(body);
    ASSERT_FALSE(got.has_value());
    EXPECT_EQ(got.error().code, Code::invalid_request);
    ASSERT_EQ(got.error().violations.size(), 1U);
    EXPECT_EQ(got.error().violations.front().field, field);
  }
}

// A 400 gave back megabytes of what the client had sent.
TEST(DecodeChat, ShowsLittleOfAPartsType) {
  std::string type = "image";
  while (type.size() < 1'000'000) type += "\xC3\xA9";
  const auto got = decode_chat_request(R"({"messages":[{"role":"user","content":[{"type":")" +
                                       type + R"("}]}]})");
  ASSERT_FALSE(got);
  EXPECT_LT(got.error().message.size(), 150U);
  EXPECT_TRUE(is_utf8(got.error().message)) << got.error().message;
}

// A grammar of n properties costs n² of memory and n³ of time.
TEST(DecodeChat, BoundsTheObjectsOfASchema) {
  const auto schema_of = [](int count) {
    std::string properties;
    for (int i = 0; i < count; ++i) {
      properties += (i == 0 ? "\"p" : ",\"p") + std::to_string(i) + "\":{}";
    }
    return R"({"type":"object","properties":{"inner":{"items":{"properties":{)" + properties +
           "}}}}}";
  };
  const auto as_format = [&](int count) {
    return chat_with(R"("response_format":{"type":"json_schema","json_schema":{"schema":)" +
                     schema_of(count) + "}}");
  };
  const auto as_tool = [&](int count) {
    return chat_with(R"("tools":[{"type":"function","function":{"name":"f","parameters":)" +
                     schema_of(count) + "}}]");
  };
  EXPECT_TRUE(decode_chat_request(as_format(256)));
  EXPECT_TRUE(decode_chat_request(as_tool(256)));
  const auto format = decode_chat_request(as_format(257));
  ASSERT_FALSE(format);
  EXPECT_EQ(format.error().violations.front().field, "response_format");
  const auto tool = decode_chat_request(as_tool(257));
  ASSERT_FALSE(tool);
  EXPECT_EQ(tool.error().violations.front().field, "tools[0].function.parameters");
}

TEST(DecodeChat, ListsEveryViolationAtOnce) {
  const auto got = decode_chat_request(
      R"({"messages":[{"role":"x","content":1},{"role":"user"}],"n":3,"top_p":2})");
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().violations.size(), 5U);
}

TEST(DecodeChat, BoundsTheListOfViolations) {
  std::string body = R"({"messages":[{"role":"x","content":1})";
  for (int i = 0; i < 500; ++i) body += R"(,{"role":"x","content":1})";
  const auto got = decode_chat_request(body + "]}");
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().violations.size(), limits::violations_max);
}

TEST(DecodeChat, ReadsOutputFormats) {
  struct Case {
    const char* name;
    std::string field;
    OutputFormat::Kind kind;
    std::string source;
  };
  using Kind = OutputFormat::Kind;
  const Case cases[] = {
      {"text", R"("response_format":{"type":"text"})", Kind::text, ""},
      {"json_object", R"("response_format":{"type":"json_object"})", Kind::json_object, ""},
      {"json_schema",
       R"("response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object"}}})",
       Kind::json_schema, R"({"type":"object"})"},
      {"llama-server's form", R"("response_format":{"type":"json_object","schema":{"a":1}})",
       Kind::json_schema, R"({"a":1})"},
      {"grammar", R"("grammar":"root ::= \"x\"")", Kind::grammar, "root ::= \"x\""}};
  for (const auto& [name, field, kind, source] : cases) {
    SCOPED_TRACE(name);
    const auto got = decode_chat_request(chat_with(field));
    ASSERT_TRUE(got.has_value());
    EXPECT_EQ(got->job.format.kind, kind);
    EXPECT_EQ(got->job.format.source, source);
  }
}

TEST(DecodeCompletion, TakesOnePromptInEveryForm) {
  struct Case {
    const char* name;
    std::string prompt;
    std::optional<PromptSource> want;
  };
  const Case cases[] = {{"text", R"("a")", "a"},
                        {"array of one", R"(["a"])", "a"},
                        {"token ids", "[1,2]", std::vector<Token>{1, 2}},
                        {"list of token ids", "[[1,2]]", std::vector<Token>{1, 2}},
                        {"two texts", R"(["a","b"])", std::nullopt},
                        {"empty", R"("")", std::nullopt},
                        {"empty array", "[]", std::nullopt},
                        {"negative id", "[-1]", std::nullopt},
                        {"mixed", R"([1,"a"])", std::nullopt},
                        {"object", "{}", std::nullopt},
                        {"list of no ids", "[[]]", std::nullopt},
                        {"nested deep", "[[[1]]]", std::nullopt}};
  for (const auto& [name, prompt, want] : cases) {
    SCOPED_TRACE(name);
    const auto got = decode_completion_request("{\"prompt\":" + prompt + "}");
    ASSERT_EQ(got.has_value(), want.has_value());
    if (want) {
      EXPECT_EQ(got->job.prompt.index(), want->index());
      if (const auto* text = std::get_if<std::string>(&*want)) {
        EXPECT_EQ(std::get<std::string>(got->job.prompt), *text);
      } else {
        EXPECT_EQ(std::get<std::vector<Token>>(got->job.prompt),
                  std::get<std::vector<Token>>(*want));
      }
    } else {
      EXPECT_EQ(got.error().violations.front().field, "prompt");
    }
  }
}

TEST(DecodeCompletion, RefusesWhatItCannotDo) {
  struct Case {
    const char* name;
    std::string field;
    std::string want;  // the field refused; empty: taken
  };
  const Case cases[] = {{"suffix", R"("suffix":"x")", "suffix"},
                        {"suffix empty", R"("suffix":"")", ""},
                        {"best_of", R"("best_of":2)", "best_of"},
                        {"echo", R"("echo":true)", ""},
                        {"echo with logprobs", R"("echo":true,"logprobs":1)", "echo"},
                        {"logprobs 0", R"("logprobs":0)", ""},
                        {"logprobs true", R"("logprobs":true)", "logprobs"}};
  for (const auto& [name, field, want] : cases) {
    SCOPED_TRACE(name);
    const auto got = decode_completion_request(R"({"prompt":"p",)" + field + "}");
    ASSERT_EQ(got.has_value(), want.empty());
    if (want.empty()) continue;
    EXPECT_EQ(got.error().violations.front().field, want);
  }
}

// clause: W-37
TEST(DecodeEmbedding, TakesTextOnly) {
  const auto got = decode_embedding_request(
      R"({"model":"m","input":["a","b"],"encoding_format":"base64","dimensions":8})");
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->inputs, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(got->base64);
  EXPECT_EQ(got->dimensions, 8U);
  for (const char* const input : {"[1,2]", "[[1,2],[3]]"}) {
    SCOPED_TRACE(input);
    const auto refused = decode_embedding_request("{\"input\":" + std::string(input) + "}");
    ASSERT_FALSE(refused.has_value());
    EXPECT_NE(refused.error().message.find("check_embedding_ctx_length=False"), std::string::npos);
  }
}

// More token ids than there may be inputs: LangChain users were told of the count, not of the
// switch. clause: W-37
TEST(DecodeEmbedding, NamesTheSwitchForAnyNumberOfTokenIds) {
  std::string ids = "1";
  for (std::size_t i = 0; i < limits::embedding_inputs_max; ++i) ids += ",1";
  const auto refused = decode_embedding_request("{\"input\":[" + ids + "]}");
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("check_embedding_ctx_length=False"), std::string::npos)
      << refused.error().message;
}

// clause: W-37
TEST(DecodeEmbedding, BoundsItsInputs) {
  const auto body = [](int inputs) {
    std::string text = R"({"input":["a")";
    for (int i = 1; i < inputs; ++i) text += R"(,"a")";
    return text + "]}";
  };
  EXPECT_TRUE(decode_embedding_request(body(2048)).has_value());
  EXPECT_FALSE(decode_embedding_request(body(2049)).has_value());
  for (const char* const bad :
       {R"({})", R"({"input":[]})", R"({"input":""})", R"({"input":{}})",
        R"({"input":"a","encoding_format":"int8"})", R"({"input":"a","dimensions":0})"}) {
    SCOPED_TRACE(bad);
    EXPECT_FALSE(decode_embedding_request(bad).has_value());
  }
}

TEST(DecodeTokenize, SpeaksBothDialects) {
  const auto llama =
      decode_tokenize_request(R"({"content":"a","add_special":true,"with_pieces":true})");
  ASSERT_TRUE(llama.has_value());
  EXPECT_EQ(llama->text, "a");
  EXPECT_TRUE(llama->add_special && llama->with_pieces && llama->parse_special);
  const auto vllm = decode_tokenize_request(R"({"prompt":"b","add_special_tokens":true})");
  ASSERT_TRUE(vllm.has_value());
  EXPECT_EQ(vllm->text, "b");
  EXPECT_TRUE(vllm->add_special);
  EXPECT_TRUE(decode_tokenize_request(R"({"content":""})").has_value());
  EXPECT_FALSE(decode_tokenize_request("{}").has_value());
  EXPECT_EQ(*decode_detokenize_request(R"({"tokens":[1,2]})"), (std::vector<Token>{1, 2}));
  EXPECT_FALSE(decode_detokenize_request(R"({"tokens":[-1]})").has_value());
  EXPECT_FALSE(decode_detokenize_request("{}").has_value());
}

TEST(OpenAiRoute, HasOnePathEach) {
  for (const auto route : {OpenAiRoute::chat_completions, OpenAiRoute::completions}) {
    EXPECT_EQ(route_from_path(route_path(route)), route);
  }
  EXPECT_FALSE(route_from_path("/v1/embeddings").has_value());
}

}  // namespace
}  // namespace llorch
