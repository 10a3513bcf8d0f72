#include "protocol/openai_reply.h"

#include <gtest/gtest.h>
#include <limits>
#include <string>
#include <vector>

#include "fakes/job_frames.h"
#include "protocol/json_parse.h"

namespace llorch {
namespace {

OpenAiReplyOptions options_of(OpenAiRoute route, bool stream) {
  OpenAiReplyOptions options;
  options.route = route;
  options.completion_id = route == OpenAiRoute::completions ? "cmpl-1" : "chatcmpl-1";
  options.created = 7;
  options.model = "m";
  options.system_fingerprint = "fp";
  options.stream = stream;
  options.correlation_id = "c1";
  return options;
}
OpenAiReplyOptions chat_stream() {
  return options_of(OpenAiRoute::chat_completions, true);
}

Ended ended_reply(StopReason reason, std::int64_t tokens_out, std::string tail = "") {
  Ended end;
  end.reason = reason;
  end.tokens_out = tokens_out;
  end.tail = std::move(tail);
  end.prompt_tokens = 10;
  end.cached_tokens = 4;
  end.prefill_ms = 1.5;
  end.decode_time_ms = 2.5;
  return end;
}

ChatDelta content(std::string text) {
  ChatDelta delta;
  delta.content = std::move(text);
  return delta;
}
ChatDelta reasoning(std::string text) {
  ChatDelta delta;
  delta.reasoning = std::move(text);
  return delta;
}
ChatDelta tool(std::uint32_t index, std::string id, std::string name, std::string arguments) {
  ChatDelta delta;
  delta.tool_index = index;
  delta.tool_id = std::move(id);
  delta.tool_name = std::move(name);
  delta.tool_arguments = std::move(arguments);
  return delta;
}

boost::json::object parsed(std::string_view text) {
  const auto object = parse_json_object(text);
  EXPECT_TRUE(object.has_value()) << text;
  return object.value_or(boost::json::object{});
}

const std::string chat_head =
    R"({"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m",)"
    R"("system_fingerprint":"fp","choices":[{"index":0,)";

// clause: W-31
TEST(OpenAiReply, StreamsAChatAsTheSdkExpects) {
  OpenAiReply reply(chat_stream());
  std::string out;
  reply.started({}, out);
  reply.token(token(0, 5, "Hi"), out);
  reply.token(token(1, 6, "", true), out);
  reply.token(token(2, 7, " \"you\""), out);
  reply.ended(ended_reply(StopReason::EOS, 3), out);
  EXPECT_EQ(
      out,
      "data: " + chat_head +
          R"("delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]})"
          "\n\ndata: " +
          chat_head +
          R"("delta":{"content":"Hi"},"logprobs":null,"finish_reason":null}]})"
          "\n\ndata: " +
          chat_head +
          R"("delta":{"content":" \"you\""},"logprobs":null,"finish_reason":null}]})"
          "\n\ndata: " +
          chat_head +
          R"("delta":{},"logprobs":null,"finish_reason":"stop"}]})"
          "\n\ndata: [DONE]\n\n");
}

// clause: W-35
TEST(OpenAiReply, SendsUsageInItsOwnFrameWhenAsked) {
  auto options = chat_stream();
  options.include_usage = true;
  OpenAiReply reply(options);
  std::string out;
  reply.started({}, out);
  reply.token(token(0, 5, "x"), out);
  reply.ended(ended_reply(StopReason::MAX_TOKENS, 1), out);
  const auto events = frames(out);
  ASSERT_EQ(events.size(), 5U);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(parsed(events[i].data).at("usage").is_null());
  EXPECT_EQ(parsed(events[2].data).at("choices").at(0).at("finish_reason").as_string(), "length");
  const auto usage = parsed(events[3].data);
  EXPECT_TRUE(usage.at("choices").as_array().empty());
  EXPECT_EQ(usage.at("usage").at("prompt_tokens").as_int64(), 10);
  EXPECT_EQ(usage.at("usage").at("completion_tokens").as_int64(), 1);
  EXPECT_EQ(usage.at("usage").at("total_tokens").as_int64(), 11);
  EXPECT_EQ(usage.at("usage").at("prompt_tokens_details").at("cached_tokens").as_int64(), 4);
  EXPECT_EQ(events[4].data, "[DONE]");
}

TEST(OpenAiReply, StreamsACompletion) {
  auto options = options_of(OpenAiRoute::completions, true);
  options.echo_text = "Once";
  OpenAiReply reply(options);
  std::string out;
  reply.started({}, out);
  reply.token(token(0, 5, " a"), out);
  reply.ended(ended_reply(StopReason::EOS, 1, "!"), out);
  const auto events = frames(out);
  ASSERT_EQ(events.size(), 5U);
  std::string text;
  for (int i = 0; i < 4; ++i) {
    const auto frame = parsed(events[i].data);
    EXPECT_EQ(frame.at("object").as_string(), "text_completion");
    text += frame.at("choices").at(0).at("text").as_string();
  }
  EXPECT_EQ(text, "Once a!");
}

// clause: W-34
TEST(OpenAiReply, StreamsToolCallsAndReasoning) {
  auto options = chat_stream();
  options.parse_chat = true;
  OpenAiReply reply(options);
  std::string out;
  auto first = token(0, 1, "<think>hm</think>ok");
  first.deltas = {reasoning("hm"), content("ok")};
  auto silent = token(1, 2, "<tool_call>");
  auto call = token(2, 3, "{");
  call.deltas = {tool(0, "id1", "f", ""), tool(0, "", "", "{\"a")};
  reply.token(first, out);
  reply.token(silent, out);
  reply.token(call, out);
  auto end = ended_reply(StopReason::EOS, 3, "\":1}");
  end.tail_deltas = {tool(0, "", "", "\":1}")};
  reply.ended(end, out);
  const auto events = frames(out);
  ASSERT_EQ(events.size(), 5U) << "a token that says nothing gives no frame";
  const auto delta = [&](std::size_t i) {
    return parsed(events[i].data).at("choices").at(0).at("delta");
  };
  EXPECT_EQ(delta(0).at("reasoning_content").as_string(), "hm");
  EXPECT_EQ(delta(0).at("content").as_string(), "ok");
  const auto calls = delta(1).at("tool_calls").as_array();
  EXPECT_EQ(calls.at(0).at("id").as_string(), "id1");
  EXPECT_EQ(calls.at(0).at("type").as_string(), "function");
  EXPECT_EQ(calls.at(0).at("function").at("name").as_string(), "f");
  EXPECT_FALSE(calls.at(1).as_object().contains("id"));
  EXPECT_EQ(calls.at(1).at("function").at("arguments").as_string(), "{\"a");
  EXPECT_EQ(delta(2).at("tool_calls").at(0).at("function").at("arguments").as_string(), "\":1}");
  EXPECT_EQ(parsed(events[3].data).at("choices").at(0).at("finish_reason").as_string(),
            "tool_calls");
}

TEST(OpenAiReply, GivesAWholeChat) {
  auto options = options_of(OpenAiRoute::chat_completions, false);
  options.parse_chat = true;
  OpenAiReply reply(options);
  std::string out;
  reply.started({}, out);
  auto part = token(0, 1, "ignored");
  part.deltas = {reasoning("r"), tool(0, "i0", "f", "{"), tool(0, "", "", "}"),
                 tool(1, "i1", "g", "{}")};
  reply.token(part, out);
  EXPECT_EQ(out, "") << "nothing before the end";
  reply.ended(ended_reply(StopReason::EOS, 1), out);
  const auto body = parsed(out);
  EXPECT_EQ(body.at("object").as_string(), "chat.completion");
  const auto& choice = body.at("choices").at(0);
  EXPECT_EQ(choice.at("finish_reason").as_string(), "tool_calls");
  EXPECT_TRUE(choice.at("message").at("content").is_null());
  EXPECT_EQ(choice.at("message").at("reasoning_content").as_string(), "r");
  const auto& calls = choice.at("message").at("tool_calls").as_array();
  ASSERT_EQ(calls.size(), 2U);
  EXPECT_EQ(calls[0].at("function").at("arguments").as_string(), "{}");
  EXPECT_EQ(calls[1].at("id").as_string(), "i1");
  EXPECT_EQ(body.at("usage").at("total_tokens").as_int64(), 11);
}

TEST(OpenAiReply, GivesAWholeCompletion) {
  auto options = options_of(OpenAiRoute::completions, false);
  options.echo_text = "P";
  OpenAiReply reply(options);
  std::string out;
  reply.started({}, out);
  reply.token(token(0, 1, "a", true), out);
  reply.ended(ended_reply(StopReason::STOP_SEQUENCE, 1, "b"), out);
  const auto body = parsed(out);
  EXPECT_EQ(body.at("object").as_string(), "text_completion");
  EXPECT_EQ(body.at("choices").at(0).at("text").as_string(), "Pab");
  EXPECT_EQ(body.at("choices").at(0).at("finish_reason").as_string(), "stop");
}

TokenOut with_logprobs(TokenOut out, const std::string& bytes) {
  out.logprob = TokenLogprob{.token = out.id, .bytes = bytes, .logprob = -0.5};
  out.top_logprobs = {
      {.token = out.id, .bytes = bytes, .logprob = -0.5},
      {.token = 9, .bytes = "\xE2", .logprob = -std::numeric_limits<double>::infinity()}};
  return out;
}

TEST(OpenAiReply, JoinsLogprobsOfHeldTokensToTheNextFrame) {
  auto options = chat_stream();
  options.logprobs = true;
  OpenAiReply reply(options);
  std::string out;
  reply.token(with_logprobs(token(0, 1, "", true), "\xC3"), out);
  EXPECT_EQ(out, "");
  reply.token(with_logprobs(token(1, 2, "\xC3\xA9"), "\xA9"), out);
  const auto events = frames(out);
  ASSERT_EQ(events.size(), 1U);
  const auto frame = parsed(events[0].data);
  const auto& rows = frame.at("choices").at(0).at("logprobs").at("content").as_array();
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].at("bytes").at(0).as_int64(), 0xC3);
  EXPECT_EQ(rows[0].at("token").as_string(), "\xEF\xBF\xBD");
  EXPECT_EQ(rows[0].at("logprob").as_double(), -0.5);
  EXPECT_EQ(rows[1].at("top_logprobs").at(1).at("logprob").to_number<double>(), -9999);
}

TEST(OpenAiReply, GivesTextLogprobsWithOffsets) {
  auto options = options_of(OpenAiRoute::completions, false);
  options.logprobs = true;
  OpenAiReply reply(options);
  std::string out;
  reply.started({}, out);
  reply.token(with_logprobs(token(0, 1, "h\xC3\xA9"), "h\xC3\xA9"), out);
  reply.token(with_logprobs(token(1, 2, "y"), "y"), out);
  reply.ended(ended_reply(StopReason::EOS, 2), out);
  const auto body = parsed(out);
  const auto& lists = body.at("choices").at(0).at("logprobs");
  EXPECT_EQ(lists.at("tokens").at(1).as_string(), "y");
  EXPECT_EQ(lists.at("token_logprobs").at(0).as_double(), -0.5);
  EXPECT_EQ(lists.at("text_offset").at(1).as_int64(), 2);
  EXPECT_EQ(lists.at("top_logprobs").at(1).at("y").as_double(), -0.5);
}

TEST(OpenAiReply, TellsFailuresInBand) {
  const Error error{.code = Code::backend_error, .message = "gone"};
  std::string streamed;
  OpenAiReply(chat_stream()).failed(error, streamed);
  EXPECT_EQ(streamed, R"(data: {"error":{"message":"gone","type":"server_error","param":null,)"
                      R"("code":"backend_error","retriable":true,"correlation_id":"c1"}})"
                      "\n\ndata: [DONE]\n\n");
  std::string whole;
  OpenAiReply(options_of(OpenAiRoute::completions, false)).failed(error, whole);
  EXPECT_EQ(parsed(whole).at("error").at("message").as_string(), "gone");
  std::string cancelled;
  OpenAiReply(chat_stream()).ended(ended_reply(StopReason::CANCELLED, 1), cancelled);
  EXPECT_NE(cancelled.find(R"("code":"cancelled")"), std::string::npos);
}

// clause: W-28
TEST(OpenAiReply, RelayFramesCarryPositions) {
  auto options = chat_stream();
  options.relay = true;
  options.include_usage = true;
  OpenAiReply reply(options);
  std::string out;
  reply.started({}, out);
  reply.token(token(0, 50, "a"), out);
  reply.token(token(1, 51, "", true), out);
  reply.token(token(2, 52, "bc"), out);
  reply.token(token(3, 53, "", true), out);
  reply.ended(ended_reply(StopReason::STOP_SEQUENCE, 4), out);
  std::vector<std::string> ids;
  for (std::size_t at = 0; at < out.size();) {
    const std::size_t next = out.find("\n\n", at) + 2;
    const std::string frame = out.substr(at, next - at);
    EXPECT_EQ(frame.find("event:"), std::string::npos);
    ids.push_back(frame.starts_with("id: ") ? frame.substr(4, frame.find('\n') - 4) : "");
    at = next;
  }
  EXPECT_EQ(ids, (std::vector<std::string>{"", "2:50", "4:51,52", "5:53", "6", "", ""}));
}

TEST(OpenAiReply, ResumedRelayRepeatsNothing) {
  auto options = chat_stream();
  options.relay = true;
  options.resumed = 2;
  OpenAiReply reply(options);
  std::string out;
  reply.started({.resumed_text = "ab"}, out);
  EXPECT_EQ(out, "");
  reply.token(token(2, 9, "c"), out);
  EXPECT_TRUE(out.starts_with("id: 4:9\n"));
  EXPECT_EQ(out.find("role"), std::string::npos);
}

// clause: W-28
TEST(OpenAiReply, RelayOfAWholeBodyEndsWithAllOfIt) {
  auto options = options_of(OpenAiRoute::chat_completions, false);
  options.relay = true;
  options.resumed = 1;
  OpenAiReply reply(options);
  std::string out;
  reply.started({.resumed_text = "He"}, out);
  reply.token(token(1, 9, "llo"), out);
  reply.ended(ended_reply(StopReason::EOS, 2), out);
  EXPECT_TRUE(out.starts_with("id: 3:9\ndata: {}\n\nid: 4\ndata: {"));
  EXPECT_TRUE(out.ends_with("data: [DONE]\n\n"));
  const auto events = frames(out);
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(parsed(events[1].data).at("choices").at(0).at("message").at("content").as_string(),
            "Hello");
}

TEST(OpenAiReply, RelayFailsWithAnErrorEvent) {
  auto options = chat_stream();
  options.relay = true;
  OpenAiReply reply(options);
  std::string out;
  reply.token(token(0, 9, "x"), out);
  out.clear();
  reply.failed({.code = Code::internal, .message = "m"}, out);
  EXPECT_TRUE(
      out.starts_with("id: 3\nevent: error\ndata: {\"type\":\"error\",\"code\":\"INTERNAL\""));
}

}  // namespace
}  // namespace llorch
