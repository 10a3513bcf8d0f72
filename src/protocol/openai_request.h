// OpenAI request bodies, decoded and range-checked: every violation is listed, the first one is
// OpenAI's `param`. Fields we do not know are ignored. Source: the OpenAI API reference;
// extensions as llama-server and vLLM spell them.
// Threads: any.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "protocol/job.h"

namespace llorch {

enum class OpenAiRoute { chat_completions, completions };

// "/v1/chat/completions"
std::string_view route_path(OpenAiRoute route);
std::optional<OpenAiRoute> route_from_path(std::string_view path);

// A generation, before the worker gives it an id. job.id is empty.
struct OpenAiRequest {
  OpenAiRoute route = OpenAiRoute::chat_completions;
  JobRequest job;
  std::string model;  // as asked for; may be empty
  bool stream = false;
  bool include_usage = false;  // stream_options.include_usage
  bool flex = false;           // service_tier "flex": cheaper, and it may wait
};

// Errors of all: invalid_request with the violations; too_large.
Result<OpenAiRequest> decode_chat_request(std::string_view body);
Result<OpenAiRequest> decode_completion_request(std::string_view body);
Result<OpenAiRequest> decode_openai_request(OpenAiRoute route, std::string_view body);
Result<EmbeddingRequest> decode_embedding_request(std::string_view body);

// {"content":"text"} (llama-server) or {"prompt":"text"} (vLLM) and the flags of both.
struct TokenizeRequest {
  std::string text;
  bool add_special = false;   // a beginning-of-sequence token, where the model wants one
  bool parse_special = true;  // control tokens in the text are recognised
  bool with_pieces = false;   // the reply names each token's text
};
Result<TokenizeRequest> decode_tokenize_request(std::string_view body);
// {"tokens":[1,2,3]}
Result<std::vector<Token>> decode_detokenize_request(std::string_view body);

}  // namespace llorch
