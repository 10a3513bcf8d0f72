// The fields that /execute and OpenAI's bodies share: sampling, stop strings, output format,
// messages and tools. Each reads what is there and lists what is wrong.
// Threads: any.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "protocol/field_reader.h"
#include "protocol/job.h"

namespace llorch {

// Of a text that only the body around it bounds.
inline constexpr TextRange body_text{.bytes_min = 0, .bytes_max = limits::body_bytes_max};

// temperature, top_p, top_k, min_p, repetition_penalty: of /execute and `/v1` alike.
void read_sampling(FieldReader& fields, SamplingFields& sampling);
// Only `/v1`: penalties, logit_bias, and llama-server's name repeat_penalty.
void read_openai_sampling(FieldReader& fields, SamplingFields& sampling);
// At most 16 strings of 1..256 bytes; on `/v1` a bare string too.
std::vector<std::string> read_stop(FieldReader& fields, bool bare_string);
// response_format or grammar.
OutputFormat read_format(FieldReader& fields);

// messages[], at least one. Fields that are none of ours, inside of it: ignored on `/v1`, refused
// on /execute.
enum class OtherFields { ignored, refused };
std::vector<ChatMessage> read_messages(FieldReader& fields, Violations& violations,
                                       OtherFields others);
// tools, tool_choice, parallel_tool_calls, chat_template_kwargs and reasoning_effort.
void read_chat_options(FieldReader& fields, Violations& violations, ChatPrompt& chat);

// Everything a generation has on our own routes: prompt or messages, max_tokens, sampling, stop,
// format and the flags.
void read_generation(FieldReader& fields, Violations& violations, JobRequest& job);

}  // namespace llorch
