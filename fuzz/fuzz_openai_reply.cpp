// Whatever a model says, a reply is frames of valid JSON (or one JSON body), with each token id of
// a relay in exactly one of them. Each byte of the input makes one token.
#include "fuzz.h"
#include "protocol/job_stream.h"
#include "protocol/json_parse.h"
#include "protocol/openai_reply.h"
#include "protocol/sse.h"

namespace {

llorch::TokenOut token_of(const std::uint8_t* bytes, std::size_t i, std::size_t size) {
  llorch::TokenOut token;
  token.index = static_cast<std::int64_t>(i);
  token.id = bytes[i];
  token.held = bytes[i] % 5 == 0;
  if (!token.held) {
    const std::size_t taken = std::min<std::size_t>(size - i, 1 + bytes[i] % 4);
    token.text = llorch::fuzz::text_of(bytes + i, taken);
  }
  if (bytes[i] % 2 == 0) {
    token.logprob = {.token = token.id, .bytes = token.text, .logprob = -1.0 * bytes[i]};
    token.top_logprobs = {*token.logprob};
  }
  if (bytes[i] % 3 == 0) {
    llorch::ChatDelta delta;
    delta.content = token.text;
    if (bytes[i] % 7 == 0) delta.tool_index = bytes[i] % 4;
    delta.tool_arguments = token.text;
    token.deltas = {delta};
  }
  return token;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace llorch;
  if (size < 2) return 0;
  OpenAiReplyOptions options;
  options.route = (bytes[0] & 1) != 0 ? OpenAiRoute::completions : OpenAiRoute::chat_completions;
  options.stream = (bytes[0] & 2) != 0;
  options.relay = (bytes[0] & 4) != 0;
  options.logprobs = (bytes[0] & 8) != 0;
  options.parse_chat = (bytes[0] & 16) != 0;
  options.include_usage = (bytes[0] & 32) != 0;
  options.model = fuzz::text_of(bytes, std::min<std::size_t>(size, 9));
  OpenAiReply reply(options);
  std::string out;
  reply.started({}, out);
  for (std::size_t i = 1; i < size; ++i) reply.token(token_of(bytes, i, size), out);
  Ended end;
  end.tail = fuzz::text_of(bytes, std::min<std::size_t>(size, 3));
  reply.ended(end, out);
  if (!options.stream && !options.relay) {
    fuzz::require(parse_json_object(out, out.size()).has_value());
    return 0;
  }
  SseParser parser;
  std::vector<SseEvent> events;
  fuzz::require(parser.feed(out, events).has_value());
  std::size_t ids = 0;
  std::string last_id;
  for (const auto& event : events) {
    const bool json = parse_json_object(event.data, event.data.size()).has_value();
    fuzz::require(json || event.data == "[DONE]");
    if (event.id == last_id) continue;
    last_id = event.id;
    const auto position = parse_stream_position(event.id);
    fuzz::require(position.has_value());
    ids += position->token_ids.size();
  }
  fuzz::require(ids == (options.relay ? size - 1 : 0));
  return 0;
}
