#include "protocol/openai_reply.h"

#include <algorithm>
#include <utility>

#include "protocol/error_body.h"
#include "protocol/job_stream.h"
#include "protocol/json_text.h"
#include "protocol/utf8.h"

namespace llorch {
namespace {

constexpr std::string_view done_frame = "data: [DONE]\n\n";

bool says_something(const std::vector<ChatDelta>& deltas) {
  return std::ranges::any_of(deltas, [](const ChatDelta& delta) {
    return !delta.content.empty() || !delta.reasoning.empty() || delta.tool_index.has_value();
  });
}

void append_head(std::string& out, const OpenAiReplyOptions& options, std::string_view object) {
  JsonObjectWriter(out)
      .string("id", options.completion_id)
      .string("object", object)
      .integer("created", options.created)
      .string("model", options.model)
      .string("system_fingerprint", options.system_fingerprint);
}

void append_tool_delta(std::string& out, std::uint32_t index, const ChatDelta& delta) {
  JsonObjectWriter row(out);
  row.integer("index", index);
  if (!delta.tool_id.empty()) row.string("id", delta.tool_id).string("type", "function");
  JsonObjectWriter function(row.key("function"));
  if (!delta.tool_name.empty()) function.string("name", delta.tool_name);
  function.string("arguments", delta.tool_arguments).end();
  row.end();
}

// All deltas of one frame as one: {"content":…,"reasoning_content":…,"tool_calls":[…]}.
void append_delta(std::string& out, const std::vector<ChatDelta>& deltas) {
  std::string content;
  std::string reasoning;
  std::string calls;
  for (const auto& delta : deltas) {
    content += delta.content;
    reasoning += delta.reasoning;
    if (!delta.tool_index) continue;
    calls += calls.empty() ? '[' : ',';
    append_tool_delta(calls, *delta.tool_index, delta);
  }
  JsonObjectWriter row(out);
  if (!reasoning.empty()) row.string("reasoning_content", reasoning);
  if (!content.empty()) row.string("content", content);
  if (!calls.empty()) row.raw("tool_calls", calls += ']');
  row.end();
}

void append_usage(std::string& out, const Ended& event) {
  JsonObjectWriter row(out);
  row.integer("prompt_tokens", event.prompt_tokens)
      .integer("completion_tokens", event.tokens_out)
      .integer("total_tokens", event.prompt_tokens + event.tokens_out);
  JsonObjectWriter(row.key("prompt_tokens_details"))
      .integer("cached_tokens", event.cached_tokens)
      .end();
  row.end();
}

// As llama-server gives them, so that tools which read its figures find them here.
void append_timings(std::string& out, const Ended& event) {
  JsonObjectWriter(out)
      .integer("cache_n", event.cached_tokens)
      .integer("prompt_n", event.prompt_tokens - event.cached_tokens)
      .number("prompt_ms", event.prefill_ms)
      .integer("predicted_n", event.tokens_out)
      .number("predicted_ms", event.decode_time_ms)
      .end();
}

// A logarithm of zero is no JSON; OpenAI writes -9999 for it.
double finite(double logprob) {
  return std::max(logprob, -9999.0);
}

void append_token_logprob(JsonObjectWriter& row, const TokenLogprob& token) {
  row.string("token", utf8_replaced(token.bytes)).number("logprob", finite(token.logprob));
  std::string& out = row.key("bytes");
  append_json_list(out, token.bytes,
                   [&](char c) { append_json_int(out, static_cast<unsigned char>(c)); });
}

}  // namespace

OpenAiReply::OpenAiReply(OpenAiReplyOptions options)
    : options_(std::move(options)), next_index_(options_.resumed) {
  append_head(chunk_head_, options_, chat() ? "chat.completion.chunk" : "text_completion");
  chunk_head_ += R"(,"choices":[{"index":0,)";
  chunk_tail_ = options_.include_usage ? "}],\"usage\":null}\n\n" : "}]}\n\n";
}

std::string_view OpenAiReply::finish_reason(StopReason reason) const {
  if (reason == StopReason::MAX_TOKENS) return "length";
  return called_tool_ ? "tool_calls" : "stop";
}

void OpenAiReply::begin_frame(std::string& out, std::string_view ids) {
  if (options_.relay && !ids.empty()) {
    out += "id: ";
    append_json_int(out, next_index_ - 1 + first_token_seq);
    out.append(":").append(ids) += '\n';
  }
  out += "data: ";
}

void OpenAiReply::started(const Started& event, std::string& out) {
  note_tools(event.resumed_deltas);
  text_offset_ = static_cast<std::int64_t>(utf8_length(event.resumed_text));
  if (!options_.stream) {
    if (!chat()) text_ = options_.echo_text;
    return collect(event.resumed_text, event.resumed_deltas);
  }
  if (options_.resumed > 0) return;
  if (chat()) {
    begin_frame(out, {});
    out.append(chunk_head_)
        .append(R"("delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null)")
        .append(chunk_tail_);
  } else if (!options_.echo_text.empty()) {
    append_chunk(out, options_.echo_text, {});
  }
}

void OpenAiReply::token(const TokenOut& event, std::string& out) {
  next_index_ = event.index + 1;
  note_tools(event.deltas);
  if (options_.logprobs && event.logprob) {
    rows_.push_back({*event.logprob, event.top_logprobs, text_offset_});
    text_offset_ += static_cast<std::int64_t>(utf8_length(event.logprob->bytes));
  }
  if (options_.relay) {
    if (!pending_ids_.empty()) pending_ids_ += ',';
    append_json_int(pending_ids_, event.id);
  }
  if (!options_.stream) {
    collect(event.text, event.deltas);
    if (!options_.relay) return;
    begin_frame(out, pending_ids_);
    pending_ids_.clear();
    out += "{}\n\n";
    return;
  }
  const bool speaks = options_.parse_chat ? says_something(event.deltas) : !event.text.empty();
  if (speaks) append_chunk(out, event.text, event.deltas);
}

void OpenAiReply::append_chunk(std::string& out, std::string_view text,
                               const std::vector<ChatDelta>& deltas) {
  begin_frame(out, pending_ids_);
  pending_ids_.clear();
  out += chunk_head_;
  if (!chat()) {
    out += "\"text\":";
    append_json_string(out, text);
  } else if (options_.parse_chat) {
    out += "\"delta\":";
    append_delta(out, deltas);
  } else {
    out += "\"delta\":{\"content\":";
    append_json_string(out, text);
    out += '}';
  }
  out += ",\"logprobs\":";
  append_logprobs(out);
  rows_.clear();
  out += ",\"finish_reason\":null";
  out += chunk_tail_;
}

void OpenAiReply::ended(const Ended& event, std::string& out) {
  if (event.reason == StopReason::CANCELLED) {
    return failed({.code = Code::cancelled, .message = "the job was cancelled"}, out);
  }
  note_tools(event.tail_deltas);
  if (options_.stream) {
    const bool speaks =
        options_.parse_chat ? says_something(event.tail_deltas) : !event.tail.empty();
    // Tokens that never got any text still have ids and log probabilities to deliver.
    if (speaks || !pending_ids_.empty() || !rows_.empty()) {
      append_chunk(out, event.tail, event.tail_deltas);
    }
  } else {
    collect(event.tail, event.tail_deltas);
  }
  if (options_.relay) {
    out += "id: ";
    append_json_int(out, next_index_ + first_token_seq);
    out += '\n';
  }
  if (!options_.stream) {
    if (!options_.relay) return append_whole(out, event);
    out += "data: ";
    append_whole(out, event);
    out.append("\n\n").append(done_frame);
    return;
  }
  append_finish(out, event.reason);
  if (options_.include_usage) append_usage_frame(out, event);
  out += done_frame;
}

void OpenAiReply::append_finish(std::string& out, StopReason reason) const {
  out.append("data: ").append(chunk_head_);
  out += chat() ? R"("delta":{},"logprobs":null,"finish_reason":")"
                : R"("text":"","logprobs":null,"finish_reason":")";
  out.append(finish_reason(reason)).append("\"").append(chunk_tail_);
}

void OpenAiReply::append_usage_frame(std::string& out, const Ended& event) const {
  out += "data: ";
  append_head(out, options_, chat() ? "chat.completion.chunk" : "text_completion");
  out += R"(,"choices":[],"usage":)";
  append_usage(out, event);
  out += ",\"timings\":";
  append_timings(out, event);
  out += "}\n\n";
}

void OpenAiReply::failed(const Error& error, std::string& out) {
  if (options_.relay) {
    return append_error_event(out, next_index_ + first_token_seq, error, options_.correlation_id);
  }
  const std::string body = error_body(error, options_.correlation_id, ErrorShape::openai);
  if (!options_.stream) {
    out += body;
    return;
  }
  append_sse_frame(out, {}, {}, body);
  out += done_frame;
}

void OpenAiReply::note_tools(const std::vector<ChatDelta>& deltas) {
  called_tool_ = called_tool_ || std::ranges::any_of(deltas, [](const ChatDelta& delta) {
                   return delta.tool_index.has_value();
                 });
}

void OpenAiReply::collect(std::string_view text, const std::vector<ChatDelta>& deltas) {
  if (!options_.parse_chat) {
    text_ += text;
    return;
  }
  for (const auto& delta : deltas) {
    text_ += delta.content;
    reasoning_ += delta.reasoning;
    if (!delta.tool_index) continue;
    // The index is the parser's count of calls; a gap would be its error, not a reason to grow.
    const auto index = std::min<std::size_t>(*delta.tool_index, tool_calls_.size());
    if (index == tool_calls_.size()) tool_calls_.emplace_back();
    auto& call = tool_calls_[index];
    call.id += delta.tool_id;
    call.name += delta.tool_name;
    call.arguments += delta.tool_arguments;
  }
}

void OpenAiReply::append_whole(std::string& out, const Ended& event) const {
  append_head(out, options_, chat() ? "chat.completion" : "text_completion");
  out += R"(,"choices":[{"index":0,)";
  if (chat()) {
    out += "\"message\":";
    append_message(out);
  } else {
    out += "\"text\":";
    append_json_string(out, text_);
  }
  out += ",\"logprobs\":";
  append_logprobs(out);
  out.append(",\"finish_reason\":\"").append(finish_reason(event.reason)).append("\"}],\"usage\":");
  append_usage(out, event);
  out += ",\"timings\":";
  append_timings(out, event);
  out += '}';
}

void OpenAiReply::append_message(std::string& out) const {
  JsonObjectWriter row(out);
  row.string("role", "assistant");
  if (text_.empty() && !tool_calls_.empty()) {
    row.raw("content", "null");
  } else {
    row.string("content", text_);
  }
  row.raw("refusal", "null");
  if (!reasoning_.empty()) row.string("reasoning_content", reasoning_);
  if (!tool_calls_.empty()) {
    append_json_list(row.key("tool_calls"), tool_calls_, [&](const WholeToolCall& call) {
      JsonObjectWriter entry(out);
      entry.string("id", call.id).string("type", "function");
      JsonObjectWriter(entry.key("function"))
          .string("name", call.name)
          .string("arguments", call.arguments)
          .end();
      entry.end();
    });
  }
  row.end();
}

void OpenAiReply::append_logprobs(std::string& out) const {
  if (rows_.empty()) {
    out += "null";
  } else if (chat()) {
    append_chat_logprobs(out);
  } else {
    append_text_logprobs(out);
  }
}

void OpenAiReply::append_chat_logprobs(std::string& out) const {
  out += "{\"content\":";
  append_json_list(out, rows_, [&](const TokenRow& row) {
    JsonObjectWriter entry(out);
    append_token_logprob(entry, row.chosen);
    append_json_list(entry.key("top_logprobs"), row.top, [&](const TokenLogprob& other) {
      JsonObjectWriter alternative(out);
      append_token_logprob(alternative, other);
      alternative.end();
    });
    entry.end();
  });
  out += ",\"refusal\":null}";
}

void OpenAiReply::append_text_logprobs(std::string& out) const {
  JsonObjectWriter lists(out);
  append_json_list(lists.key("tokens"), rows_,
                   [&](const TokenRow& row) { append_json_string(out, row.chosen.bytes); });
  append_json_list(lists.key("token_logprobs"), rows_, [&](const TokenRow& row) {
    append_json_number(out, finite(row.chosen.logprob));
  });
  append_json_list(lists.key("top_logprobs"), rows_, [&](const TokenRow& row) {
    JsonObjectWriter alternatives(out);
    for (const auto& other : row.top) alternatives.number(other.bytes, finite(other.logprob));
    alternatives.end();
  });
  append_json_list(lists.key("text_offset"), rows_,
                   [&](const TokenRow& row) { append_json_int(out, row.text_offset); });
  lists.end();
}

}  // namespace llorch
