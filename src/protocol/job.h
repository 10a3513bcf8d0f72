// What a client asks of a model, after decoding and range checks: the one shape that the worker's
// routes, the engine and the orchestrator share. Pure values. Threads: any.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/ids.h"

namespace llorch {

using Token = std::int32_t;

// Sampling fields as given; an absent one takes the model's default (or the route's).
struct SamplingFields {
  std::optional<double> temperature;                 // 0..2, 0 = argmax
  std::optional<double> top_p;                       // 0..1
  std::optional<double> min_p;                       // 0..1
  std::optional<double> repetition_penalty;          // 0 < p <= 2, over the last 64 tokens
  std::optional<double> presence_penalty;            // -2..2
  std::optional<double> frequency_penalty;           // -2..2
  std::optional<std::uint32_t> top_k;                // 0 = off
  std::optional<std::uint64_t> seed;                 // absent: chosen and reported
  std::vector<std::pair<Token, double>> logit_bias;  // -100..100
};

// What the text must obey. `source` is a JSON schema, or GBNF for grammar; empty otherwise.
struct OutputFormat {
  enum class Kind { text, json_object, json_schema, grammar };
  Kind kind = Kind::text;
  std::string source;
};

struct ToolSpec {
  std::string name;
  std::string description;
  std::string parameters_json;  // a JSON schema, "{}" when absent
};

struct ToolChoice {
  enum class Kind { automatic, none, required, function };
  Kind kind = Kind::automatic;
  std::string function;  // the name, for Kind::function
};

struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments_json;
};

struct ChatMessage {
  std::string role;  // system, developer, user, assistant or tool
  std::string content;
  std::string reasoning_content;
  std::vector<ToolCall> tool_calls;  // assistant only
  std::string tool_call_id;          // tool only
  std::string name;
};

struct ChatPrompt {
  std::vector<ChatMessage> messages;  // at least one
  std::vector<ToolSpec> tools;
  ToolChoice tool_choice;
  bool parallel_tool_calls = true;
  std::map<std::string, std::string> template_kwargs_json;  // allow-listed names, JSON values
};

// The prompt: bare text, a conversation for the chat template, or token ids.
using PromptSource = std::variant<std::string, ChatPrompt, std::vector<Token>>;

// One generation. Embeddings are EmbeddingRequest.
struct JobRequest {
  JobId id;
  std::uint32_t attempt = 0;  // a higher one replaces the live run of the same id
  std::string cache_scope;    // empty = shared
  std::string correlation_id;
  PromptSource prompt;
  std::optional<std::uint64_t> max_tokens;  // absent: to the end of the context
  SamplingFields sampling;
  std::vector<std::string> stop;
  OutputFormat format;
  bool ignore_eos = false;
  bool deterministic = false;
  bool parse_chat = false;  // split the text into content, reasoning and tool calls
  bool echo = false;        // completions: the reply encoder puts the prompt's text first
  std::optional<std::uint32_t> top_logprobs;  // set: log probabilities wanted; 0..20 alternatives
  std::vector<Token> resume_tokens;           // already generated elsewhere and sent to the client
};

struct EmbeddingRequest {
  std::vector<std::string> inputs;          // 1..2048
  std::optional<std::uint32_t> dimensions;  // absent: all
  bool base64 = false;
  std::string model;
};

}  // namespace llorch
