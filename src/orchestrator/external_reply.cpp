#include "orchestrator/external_reply.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <utility>

#include "net/framing.h"
#include "protocol/error_body.h"
#include "protocol/json_parse.h"

namespace llorch {

namespace json = boost::json;

namespace {

bool says_something(const json::value& value) {
  if (value.is_string()) return !value.get_string().empty();
  if (value.is_array()) return !value.get_array().empty();
  return value.is_object();
}

// Anything in a delta but the role is part of the answer: text, reasoning, tool calls, a refusal.
bool has_output(const json::object& choice) {
  for (const char* const part : {"delta", "message"}) {
    const auto* const found = choice.if_contains(part);
    if (found == nullptr || !found->is_object()) continue;
    for (const auto& [name, value] : found->get_object()) {
      if (name != "role" && says_something(value)) return true;
    }
  }
  const auto* const text = choice.if_contains("text");
  return text != nullptr && says_something(*text);
}

std::optional<std::int64_t> count_of(const json::object& usage, const char* name) {
  const auto* const value = usage.if_contains(name);
  if (value == nullptr || !value->is_int64() || value->get_int64() < 0) return std::nullopt;
  return std::min<std::int64_t>(value->get_int64(), limits::external_tokens_max);
}

void read_choices(const json::object& reply, ExternalReply& into) {
  const auto* const choices = reply.if_contains("choices");
  if (choices == nullptr || !choices->is_array()) return;
  for (const auto& choice : choices->get_array()) {
    if (!choice.is_object()) continue;
    const auto& row = choice.get_object();
    into.output = into.output || has_output(row);
    const auto* const reason = row.if_contains("finish_reason");
    into.finished = into.finished || (reason != nullptr && reason->is_string());
  }
}

std::string quoted(const std::string& name) {
  return "external server '" + name + "'";
}

// llama-server names it in `type`, OpenAI and vLLM in `code`.
bool is_too_long(std::string_view body) {
  return body.find("exceed_context_size") != body.npos ||
         body.find("context_length_exceeded") != body.npos;
}

}  // namespace

Result<std::string> external_body(std::string_view body, std::string_view their_model,
                                  bool without_seed) {
  auto parsed = parse_json_object(body);
  if (!parsed) return fail(parsed.error());
  (*parsed)["model"] = json::string(their_model);
  if (without_seed) parsed->erase("seed");
  return json::serialize(*parsed);
}

Result<ExternalReply> read_external_reply(std::string_view text, const ReplyIdentity& ours,
                                          std::size_t bytes_max) {
  auto parsed = parse_json_object(text, bytes_max);
  if (!parsed) {
    return fail(Code::backend_error,
                "the external server's answer is no JSON object: " + parsed.error().message);
  }
  if (const auto* const error = parsed->if_contains("error"); error && !error->is_null()) {
    auto told = decode_error(500, text).error;
    return fail(Code::backend_error, "the external server failed: " + told.message);
  }
  ExternalReply reply;
  read_choices(*parsed, reply);
  const auto* const usage = parsed->if_contains("usage");
  if (usage != nullptr && usage->is_object()) {
    reply.prompt_tokens = count_of(usage->get_object(), "prompt_tokens");
    reply.completion_tokens = count_of(usage->get_object(), "completion_tokens");
  }
  (*parsed)["model"] = json::string(ours.model);
  if (!ours.id.empty()) {
    (*parsed)["id"] = json::string(ours.id);
    (*parsed)["created"] = ours.created;
  }
  reply.json = json::serialize(*parsed);
  return reply;
}

ExternalRefusal external_refusal(const ExternalServer& server, unsigned status,
                                 std::string_view body,
                                 std::optional<std::int64_t> retry_after_ms) {
  auto error = decode_error(status, body).error;
  const auto told = quoted(server.name) + " answered " + std::to_string(status) + ": ";
  const auto ours = [&](std::string message) {
    return ExternalRefusal{Failure::internal,
                           {.code = Code::backend_error, .message = std::move(message)}};
  };
  if (status == 401 || status == 403) {
    const bool keyless = server.key.empty();
    return ours(quoted(server.name) + " refused our key (" + std::to_string(status) + "): " +
                (keyless ? "give it a key_env in [[external]]" : "check " + server.key_env));
  }
  if (status < 400 || status == 404 || status == 405) {
    return ours(told + error.message + "; check url and models in [[external]]");
  }
  error.message = told + error.message;
  if (retry_after_ms) error.retry_after_ms = retry_after_ms;
  if (status == 429 || status == 503) {
    error.code = status == 429 ? Code::queue_full : Code::worker_lost;
    return {Failure::overloaded, std::move(error)};
  }
  if (status == 408 || status == 504) {
    error.code = Code::worker_timeout;
  } else if (status >= 500) {
    error.code = Code::backend_error;
  } else if (is_too_long(body)) {
    error.code = Code::context_length_exceeded;
  } else {
    error.code = status == 413 ? Code::too_large : Code::invalid_request;
  }
  return {Failure::backend, std::move(error)};
}

std::optional<std::int64_t> retry_after_of(const net::Headers& headers) {
  constexpr std::uint64_t wait_ms_max = 3'600'000;
  const auto number = [&](const char* name, std::uint64_t unit) -> std::optional<std::int64_t> {
    const auto text = headers.find(name);
    const auto value = text ? net::parse_content_length(*text) : std::nullopt;
    if (!value || *value > wait_ms_max / unit) return std::nullopt;
    return static_cast<std::int64_t>(*value * unit);
  };
  const auto exact = number("retry-after-ms", 1);
  return exact ? exact : number("Retry-After", 1'000);
}

}  // namespace llorch
