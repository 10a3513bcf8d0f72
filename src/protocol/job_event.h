// What becomes of a job, as the engine tells it and every reply encoder takes it: Started, then
// PrefillProgress and TokenOut, then exactly one Ended or Failed. Pure values. Threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "protocol/job.h"

namespace llorch {

enum class StopReason { EOS, MAX_TOKENS, STOP_SEQUENCE, CANCELLED };  // spelled as on the wire

struct TokenLogprob {
  Token token = 0;
  std::string bytes;  // may be a part of a UTF-8 character
  double logprob = 0;
};

// A part of an assistant message, with parse_chat. Only what is new since the token before.
struct ChatDelta {
  std::string content;
  std::string reasoning;
  std::optional<std::uint32_t> tool_index;  // set: the next three belong to that tool call
  std::string tool_id;                      // only in the first delta of a call
  std::string tool_name;                    // likewise
  std::string tool_arguments;
};

struct Started {  // the job has a slot
  std::int64_t prompt_tokens = 0;
  std::int64_t cached_tokens = 0;
  std::uint64_t seed = 0;
  // What the resume_tokens had already given; only a whole (not streamed) reply repeats it.
  std::string resumed_text = {};
  std::vector<ChatDelta> resumed_deltas = {};  // parse_chat only
};
struct PrefillProgress {  // at most one a second
  std::int64_t prompt_done = 0;
  std::int64_t prompt_total = 0;
  std::uint64_t engine_step = 0;
};
struct TokenOut {
  std::int64_t index = 0;  // from 0; with n resume_tokens the first is n
  Token id = 0;
  std::string text;   // whole UTF-8 characters; empty while held back
  bool held = false;  // text of this token may still come, with a later token or in Ended
  std::vector<ChatDelta> deltas;  // parse_chat only
  std::optional<TokenLogprob> logprob;
  std::vector<TokenLogprob> top_logprobs;
};
struct Ended {
  std::int64_t tokens_out = 0;  // token events of the whole job, resumed ones included
  StopReason reason = StopReason::EOS;
  std::string stop_sequence;  // for STOP_SEQUENCE
  std::string tail;           // text held back until now
  std::vector<ChatDelta> tail_deltas;
  double prefill_ms = 0;
  double decode_time_ms = 0;
  std::int64_t cached_tokens = 0;
  std::int64_t prompt_tokens = 0;
};
struct Failed {
  Error error;
};
using JobEvent = std::variant<Started, PrefillProgress, TokenOut, Ended, Failed>;

}  // namespace llorch
