#include "protocol/error_body.h"

#include <algorithm>
#include <cctype>

#include "protocol/json_parse.h"
#include "protocol/json_text.h"
#include "protocol/utf8.h"

namespace llorch {

namespace json = boost::json;

namespace {

std::string_view openai_type(Code code) {
  switch (http_status(code)) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 400:
    case 409:
    case 413:
    case 499:
      return "invalid_request_error";
    default:
      return "server_error";
  }
}

void append_violations(std::string& out, const std::vector<Violation>& violations) {
  append_json_list(out, violations, [&](const Violation& violation) {
    JsonObjectWriter row(out);
    row.string("field", violation.field)
        .string("constraint", violation.constraint)
        .string("message", violation.message);
    if (violation.value) row.string("value", *violation.value);
    row.end();
  });
}

std::string text_of(const json::object& object, std::string_view name) {
  const auto* const value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

// The code of a status when the body names none that we know.
Code code_of_status(unsigned status) {
  switch (status) {
    case 400:
    case 405:
    case 415:
    case 422:
      return Code::invalid_request;
    case 401:
      return Code::unauthorized;
    case 403:
      return Code::forbidden;
    case 404:
      return Code::not_found;
    case 408:
    case 504:
      return Code::timeout;
    case 409:
      return Code::conflict;
    case 413:
      return Code::too_large;
    case 429:
      return Code::queue_full;
    case 499:
      return Code::cancelled;
    case 502:
    case 503:
      return Code::unreachable;
    case 507:
      return Code::insufficient_memory;
    default:
      return status >= 400 && status < 500 ? Code::invalid_request : Code::internal;
  }
}

// `/v1` names are ours in OpenAI's lower case, so both spellings are read.
std::optional<Code> code_of_name(std::string name) {
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::toupper(c); });
  return code_from_wire(name);
}

std::vector<Violation> violations_of(const json::object& body) {
  std::vector<Violation> found;
  const auto* const list = body.if_contains("errors");
  if (list == nullptr || !list->is_array()) return found;
  for (const auto& entry : list->get_array()) {
    if (!entry.is_object() || found.size() == limits::violations_max) continue;
    const auto& row = entry.get_object();
    found.push_back({.field = text_of(row, "field"),
                     .constraint = text_of(row, "constraint"),
                     .message = text_of(row, "message")});
    if (row.contains("value")) found.back().value = text_of(row, "value");
  }
  return found;
}

// Reads an "error" object, ours or OpenAI's. Without a known code it keeps `error.code`.
void read_error(const json::object& object, RemoteError& into) {
  if (const auto code = code_of_name(text_of(object, "code"))) into.error.code = *code;
  if (auto message = text_of(object, "message"); !message.empty()) {
    into.error.message = std::move(message);
  }
  into.correlation_id = text_of(object, "correlation_id");
  const auto* const wait = object.if_contains("retry_after_ms");
  if (wait != nullptr && wait->is_int64()) into.error.retry_after_ms = wait->get_int64();
  const auto* const details = object.if_contains("details");
  if (details != nullptr && details->is_object()) {
    into.error.next = text_of(details->get_object(), "next");
  }
}

// The first line of a body that is not ours, short enough to show.
std::string first_line(std::string_view body) {
  constexpr std::size_t shown_bytes_max = 200;
  const std::string_view line = body.substr(0, body.find_first_of("\r\n"));
  return utf8_replaced(line.substr(0, shown_bytes_max));
}

}  // namespace

Code client_code(Code code) {
  switch (code) {
    case Code::unreachable:
      return Code::worker_lost;
    case Code::timeout:
      return Code::worker_timeout;
    case Code::insufficient_storage:
      return Code::insufficient_memory;
    default:
      return code;
  }
}

void append_error_members(std::string& out, const Error& error, std::string_view correlation_id,
                          ErrorShape shape) {
  const Code code = client_code(error.code);
  std::string name(wire_name(code));
  if (shape == ErrorShape::openai) {
    // OpenAI's own codes are lower case, and clients compare with "context_length_exceeded".
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  }
  std::string members;
  JsonObjectWriter row(members);
  if (shape == ErrorShape::openai) {
    row.string("message", error.message).string("type", openai_type(code));
    if (error.violations.empty()) {
      row.raw("param", "null");
    } else {
      row.string("param", error.violations.front().field);
    }
    row.string("code", name);
  } else {
    row.string("code", name).string("message", error.message);
  }
  row.boolean("retriable", is_retriable(code));
  if (error.retry_after_ms) row.integer("retry_after_ms", *error.retry_after_ms);
  if (!error.next.empty()) {
    JsonObjectWriter(row.key("details")).string("next", error.next).end();
  }
  row.string("correlation_id", correlation_id);
  out.append(members, 1);  // without the opening brace
}

std::string error_body(const Error& error, std::string_view correlation_id, ErrorShape shape) {
  std::string out = "{\"error\":{";
  append_error_members(out, error, correlation_id, shape);
  out += '}';
  if (!error.violations.empty()) {
    out += ",\"errors\":";
    append_violations(out, error.violations);
  }
  out += '}';
  return out;
}

std::vector<std::pair<std::string, std::string>> error_headers(const Error& error) {
  const Code code = client_code(error.code);
  std::vector<std::pair<std::string, std::string>> headers;
  if (error.retry_after_ms) {
    const std::int64_t wait_ms = std::max<std::int64_t>(0, *error.retry_after_ms);
    const std::int64_t seconds = wait_ms / 1000 + (wait_ms % 1000 != 0 ? 1 : 0);
    headers.emplace_back("Retry-After", std::to_string(seconds));
    headers.emplace_back("retry-after-ms", std::to_string(wait_ms));
    if (http_status(code) == 429) headers.emplace_back("X-Backoff-Ms", std::to_string(wait_ms));
  }
  headers.emplace_back("x-should-retry", is_retriable(code) ? "true" : "false");
  return headers;
}

RemoteError decode_error(unsigned http_status, std::string_view body) {
  RemoteError found;
  found.error.code = code_of_status(http_status);
  const auto parsed = parse_json_object(body);
  const auto* const object = parsed ? parsed->if_contains("error") : nullptr;
  if (object != nullptr && object->is_object()) {
    read_error(object->get_object(), found);
    found.error.violations = violations_of(*parsed);
  } else if (object != nullptr && object->is_string()) {
    found.error.message = std::string(object->get_string());
  } else {
    found.error.message = first_line(body);
  }
  if (found.error.message.empty()) {
    found.error.message =
        "the server answered " + std::to_string(http_status) + " without a reason";
  }
  return found;
}

RemoteError decode_error_event(std::string_view text) {
  RemoteError found;
  const auto parsed = parse_json_object(text);
  if (parsed) {
    const auto* const nested = parsed->if_contains("error");
    read_error(nested != nullptr && nested->is_object() ? nested->get_object() : *parsed, found);
    found.error.violations = violations_of(*parsed);
  }
  if (found.error.message.empty()) found.error.message = "the stream ended with an error";
  return found;
}

}  // namespace llorch
