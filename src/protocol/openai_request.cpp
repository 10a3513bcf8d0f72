#include "protocol/openai_request.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "protocol/generation_fields.h"
#include "protocol/openai_fields.h"

namespace llorch {

namespace json = boost::json;

namespace {

constexpr std::uint64_t uint64_max = std::numeric_limits<std::uint64_t>::max();
constexpr TextRange model_name{.bytes_min = 0, .bytes_max = 1024, .control_characters = false};

// What would be ignored silently although the client counts on it.
void refuse_unsupported(FieldReader& fields) {
  for (const char* const name : {"n", "best_of"}) {
    const auto* const value = fields.any(name);
    if (value != nullptr && whole_number(*value) != 1) {
      fields.add(name, "1", "must be 1: a request gives one answer", shown(*value));
    }
  }
}

void read_stream(FieldReader& fields, Violations& violations, OpenAiRequest& request) {
  request.stream = fields.boolean("stream").value_or(false);
  const auto* const options = fields.object("stream_options");
  if (options == nullptr) return;
  FieldReader inner(*options, violations, fields.path("stream_options."));
  request.include_usage = inner.boolean("include_usage").value_or(false);
}

// The fields of both generation routes.
void read_generation(FieldReader& fields, Violations& violations, OpenAiRequest& request) {
  JobRequest& job = request.job;
  request.model = fields.text("model", model_name).value_or("");
  read_stream(fields, violations, request);
  request.flex = fields.text("service_tier", body_text).value_or("") == "flex";
  read_sampling(fields, job.sampling);
  read_openai_sampling(fields, job.sampling);
  job.sampling.seed = fields.seed("seed", true);
  job.stop = read_stop(fields, true);
  job.format = read_format(fields);
  job.max_tokens = fields.integer("max_tokens", 1, uint64_max);
  job.ignore_eos = fields.boolean("ignore_eos").value_or(false);
  job.deterministic = fields.boolean("deterministic").value_or(false);
  refuse_unsupported(fields);
}

void read_chat_logprobs(FieldReader& fields, JobRequest& job) {
  const bool wanted = fields.boolean("logprobs").value_or(false);
  const auto top = fields.integer("top_logprobs", 0, limits::top_logprobs_max);
  if (top && *top > 0 && !wanted) {
    fields.add("top_logprobs", "with logprobs", "needs logprobs to be true");
  }
  if (wanted) job.top_logprobs = static_cast<std::uint32_t>(top.value_or(0));
}

// One prompt: text, an array with one text, token ids, or an array with one list of them.
std::optional<PromptSource> prompt_of(const json::value& value) {
  if (value.is_string()) return std_string(value.get_string());
  if (!value.is_array() || value.get_array().empty()) return std::nullopt;
  const json::array* list = &value.get_array();
  if (list->size() == 1 && list->front().is_string()) {
    return std_string(list->front().get_string());
  }
  if (list->size() == 1 && list->front().is_array()) list = &list->front().get_array();
  if (list->empty()) return std::nullopt;
  std::vector<Token> tokens;
  for (const auto& entry : *list) {
    const auto token = token_id(entry);
    if (!token) return std::nullopt;
    tokens.push_back(*token);
  }
  return tokens;
}

void read_prompt(FieldReader& fields, JobRequest& job) {
  const auto* const given = fields.any("prompt");
  if (given == nullptr) return fields.add("prompt", "required", "is required");
  auto prompt = prompt_of(*given);
  if (!prompt) {
    return fields.add("prompt", "text or token ids",
                      "must be a string, an array of one string, or token ids: one prompt a "
                      "request");
  }
  const auto* const text = std::get_if<std::string>(&*prompt);
  if (text != nullptr && (text->empty() || text->size() > limits::prompt_bytes_max)) {
    return fields.add("prompt", "1..1048576 bytes",
                      "must have 1..1048576 bytes, it has " + std::to_string(text->size()));
  }
  job.prompt = std::move(*prompt);
}

bool is_token_ids(const json::value& input) {
  if (!input.is_array()) return false;
  return std::ranges::any_of(input.get_array(), [](const json::value& entry) {
    return entry.is_number() || entry.is_array();
  });
}

void read_inputs(FieldReader& fields, EmbeddingRequest& request) {
  const auto* const input = fields.any("input");
  if (input == nullptr) return fields.add("input", "required", "is required");
  if (input->is_string()) {
    request.inputs.push_back(std_string(input->get_string()));
  } else {
    // First, because a text of many tokens has more ids than there may be inputs.
    if (is_token_ids(*input)) {
      return fields.add("input", "text",
                        "must be text, not token ids (LangChain: OpenAIEmbeddings("
                        "check_embedding_ctx_length=False))");
    }
    const auto* const list = fields.array("input", limits::embedding_inputs_max);
    if (list == nullptr) return;
    if (list->empty()) return fields.add("input", ">= 1 items", "must have at least one text");
    for (const auto& entry : *list) {
      if (!entry.is_string()) return fields.add("input", "text", "must be strings");
      request.inputs.push_back(std_string(entry.get_string()));
    }
  }
  for (const auto& text : request.inputs) {
    if (!text.empty() && text.size() <= limits::prompt_bytes_max) continue;
    return fields.add("input", "1..1048576 bytes", "must be texts of 1..1048576 bytes");
  }
}

EmbeddingRequest read_embedding(FieldReader& fields, Violations&) {
  constexpr std::uint64_t dimensions_max = 1 << 20;
  EmbeddingRequest request;
  request.model = fields.text("model", model_name).value_or("");
  read_inputs(fields, request);
  if (const auto dimensions = fields.integer("dimensions", 1, dimensions_max)) {
    request.dimensions = static_cast<std::uint32_t>(*dimensions);
  }
  const auto format = fields.text("encoding_format", body_text).value_or("float");
  if (format != "float" && format != "base64") {
    fields.add("encoding_format", "float or base64", "must be float or base64");
  }
  request.base64 = format == "base64";
  return request;
}

TokenizeRequest read_tokenize(FieldReader& fields, Violations&) {
  TokenizeRequest request;
  auto content = fields.text("content", body_text);
  auto prompt = fields.text("prompt", body_text);
  if (!fields.has("content") && !fields.has("prompt")) {
    fields.add("content", "required", "is required");
  }
  request.text = content ? std::move(*content) : std::move(prompt).value_or("");
  const auto add_special = fields.boolean("add_special");
  const auto add_special_tokens = fields.boolean("add_special_tokens");  // vLLM's name
  request.add_special = add_special.value_or(add_special_tokens.value_or(false));
  request.parse_special = fields.boolean("parse_special").value_or(true);
  const auto with_pieces = fields.boolean("with_pieces");
  const auto token_strs = fields.boolean("return_token_strs");  // vLLM's name
  request.with_pieces = with_pieces.value_or(token_strs.value_or(false));
  return request;
}

std::vector<Token> read_detokenize(FieldReader& fields, Violations&) {
  std::vector<Token> tokens;
  if (!fields.has("tokens")) fields.add("tokens", "required", "is required");
  const auto* const list = fields.array("tokens", limits::body_bytes_max);
  if (list == nullptr) return tokens;
  for (const auto& entry : *list) {
    const auto token = token_id(entry);
    if (!token) {
      fields.add("tokens", "token ids", "must be token ids");
      break;
    }
    tokens.push_back(*token);
  }
  return tokens;
}

OpenAiRequest read_chat(FieldReader& fields, Violations& violations) {
  OpenAiRequest request;
  request.route = OpenAiRoute::chat_completions;
  request.job.parse_chat = true;
  ChatPrompt chat;
  if (!fields.has("messages")) fields.add("messages", "required", "is required");
  chat.messages = read_messages(fields, violations, OtherFields::ignored);
  read_chat_options(fields, violations, chat);
  request.job.prompt = std::move(chat);
  read_generation(fields, violations, request);
  // OpenAI's newer name wins.
  if (const auto tokens = fields.integer("max_completion_tokens", 1, uint64_max)) {
    request.job.max_tokens = tokens;
  }
  read_chat_logprobs(fields, request.job);
  if (fields.has("functions") || fields.has("function_call")) {
    fields.add("functions", "tools", "is out of use: send tools and tool_choice");
  }
  return request;
}

OpenAiRequest read_completion(FieldReader& fields, Violations& violations) {
  OpenAiRequest request;
  request.route = OpenAiRoute::completions;
  read_prompt(fields, request.job);
  read_generation(fields, violations, request);
  const auto top = fields.integer("logprobs", 0, limits::top_logprobs_max);
  if (top) request.job.top_logprobs = static_cast<std::uint32_t>(*top);
  request.job.echo = fields.boolean("echo").value_or(false);
  if (request.job.echo && top) {
    fields.add("echo", "not with logprobs", "gives no log probabilities of the prompt");
  }
  const auto* const suffix = fields.any("suffix");
  if (suffix != nullptr && !(suffix->is_string() && suffix->get_string().empty())) {
    fields.add("suffix", "absent", "is not supported: put the text into the prompt");
  }
  return request;
}

}  // namespace

std::string_view route_path(OpenAiRoute route) {
  return route == OpenAiRoute::completions ? "/v1/completions" : "/v1/chat/completions";
}

std::optional<OpenAiRoute> route_from_path(std::string_view path) {
  for (const auto route : {OpenAiRoute::chat_completions, OpenAiRoute::completions}) {
    if (path == route_path(route)) return route;
  }
  return std::nullopt;
}

OpenAiRequest read_openai(OpenAiRoute route, FieldReader& fields, Violations& violations) {
  return route == OpenAiRoute::completions ? read_completion(fields, violations)
                                           : read_chat(fields, violations);
}

Result<OpenAiRequest> decode_chat_request(std::string_view body) {
  return decode_object(body, read_chat);
}
Result<OpenAiRequest> decode_completion_request(std::string_view body) {
  return decode_object(body, read_completion);
}
Result<OpenAiRequest> decode_openai_request(OpenAiRoute route, std::string_view body) {
  return route == OpenAiRoute::completions ? decode_completion_request(body)
                                           : decode_chat_request(body);
}
Result<EmbeddingRequest> decode_embedding_request(std::string_view body) {
  return decode_object(body, read_embedding);
}
Result<TokenizeRequest> decode_tokenize_request(std::string_view body) {
  return decode_object(body, read_tokenize);
}
Result<std::vector<Token>> decode_detokenize_request(std::string_view body) {
  return decode_object(body, read_detokenize);
}

}  // namespace llorch
