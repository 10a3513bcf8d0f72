// The body of POST /execute, both ways:
// {"job_id":"j1","prompt":"Hello","max_tokens":16,"temperature":0,"seed":42}
// Threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "protocol/job.h"
#include "protocol/openai_request.h"

namespace llorch {

// An OpenAI request that the orchestrator relays: the reply is finished OpenAI frames.
struct Relay {
  OpenAiRoute route = OpenAiRoute::chat_completions;
  bool stream = false;
  bool include_usage = false;
  std::string model;          // as the client asked for it
  std::string completion_id;  // "chatcmpl-…", chosen by the orchestrator so that it survives a move
  std::int64_t created = 0;   // seconds since the epoch
};

struct ExecuteRequest {
  JobRequest job;
  std::optional<Relay> relay;
};

// Unknown fields are refused; max_tokens gets its default here (not for a relay).
// Errors: invalid_request with every violation, too_large.
Result<ExecuteRequest> decode_execute(std::string_view body);

// The body that decodes to `job`. Shape: prompt is text or a chat without tools.
std::string encode_execute(const JobRequest& job);
// The body of a relay: `job` gives id, attempt, cache_scope and resume_tokens;
// `openai_body` is the client's JSON object, taken as it is.
std::string encode_execute_relay(const JobRequest& job, OpenAiRoute route,
                                 std::string_view openai_body, std::string_view completion_id,
                                 std::int64_t created);

}  // namespace llorch
