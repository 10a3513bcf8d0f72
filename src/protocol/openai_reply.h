// One OpenAI reply, encoded from a job's events: finished SSE frames for a stream, one body
// otherwise, or the frames of a relay (contract §2). No DOM: a frame is one append to a string.
// Threads: one owner. Lifetime: one object a reply.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/job_event.h"
#include "protocol/openai_request.h"

namespace llorch {

struct OpenAiReplyOptions {
  OpenAiRoute route = OpenAiRoute::chat_completions;
  std::string completion_id;  // "chatcmpl-…" or "cmpl-…"
  std::int64_t created = 0;   // seconds since the epoch
  std::string model;          // the one that answers
  std::string system_fingerprint;
  std::string echo_text;  // completions with `echo`: the prompt
  bool stream = false;
  bool include_usage = false;
  bool logprobs = false;
  bool parse_chat = false;   // the text is in the deltas
  bool relay = false;        // frames carry "id: SEQ:TOKEN_ID[,…]"
  std::int64_t resumed = 0;  // resume_tokens: the role frame is not repeated
  std::string correlation_id;
};

// Each call appends what is to be sent, often nothing. A token whose text is held back joins the
// next frame. Of a whole body nothing is appended before ended() (a relay sends "data: {}").
class OpenAiReply {
 public:
  explicit OpenAiReply(OpenAiReplyOptions options);

  void started(const Started& event, std::string& out);
  void token(const TokenOut& event, std::string& out);
  // A cancelled job ends as failed() with Code::cancelled.
  void ended(const Ended& event, std::string& out);
  // An error frame and [DONE]; for a whole body the error body; for a relay an `error` event.
  void failed(const Error& error, std::string& out);

 private:
  struct TokenRow {
    TokenLogprob chosen;
    std::vector<TokenLogprob> top;
    std::int64_t text_offset = 0;  // characters of the text before it
  };
  struct WholeToolCall {
    std::string id, name, arguments;
  };

  bool chat() const { return options_.route == OpenAiRoute::chat_completions; }
  std::string_view finish_reason(StopReason reason) const;
  void begin_frame(std::string& out, std::string_view ids);
  void append_chunk(std::string& out, std::string_view text, const std::vector<ChatDelta>& deltas);
  void append_finish(std::string& out, StopReason reason) const;
  void append_usage_frame(std::string& out, const Ended& event) const;
  void append_whole(std::string& out, const Ended& event) const;
  void append_message(std::string& out) const;
  void append_logprobs(std::string& out) const;
  void append_chat_logprobs(std::string& out) const;
  void append_text_logprobs(std::string& out) const;
  void note_tools(const std::vector<ChatDelta>& deltas);
  void collect(std::string_view text, const std::vector<ChatDelta>& deltas);

  OpenAiReplyOptions options_;
  std::string chunk_head_;        // of every chunk, up to the choice
  std::string chunk_tail_;        // likewise, after the choice
  std::string pending_ids_;       // "17,4": tokens that no frame has carried yet
  std::vector<TokenRow> rows_;    // likewise; of a whole body all of them
  std::int64_t next_index_ = 0;   // of the next token
  std::int64_t text_offset_ = 0;  // of the next row
  bool called_tool_ = false;
  // Of a whole body:
  std::string text_;
  std::string reasoning_;
  std::vector<WholeToolCall> tool_calls_;
};

}  // namespace llorch
