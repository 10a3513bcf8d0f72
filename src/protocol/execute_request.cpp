#include "protocol/execute_request.h"

#include <cassert>
#include <limits>
#include <utility>

#include "protocol/generation_fields.h"
#include "protocol/json_text.h"
#include "protocol/openai_fields.h"

namespace llorch {

namespace {

constexpr std::uint64_t uint64_max = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t uint32_max = std::numeric_limits<std::uint32_t>::max();
constexpr std::size_t resume_tokens_max = 1 << 20;  // no context we know is longer

void read_resume_tokens(FieldReader& fields, JobRequest& job) {
  const auto* const list = fields.array("resume_tokens", resume_tokens_max);
  if (list == nullptr) return;
  for (const auto& entry : *list) {
    const auto token = token_id(entry);
    if (!token) return fields.add("resume_tokens", "token ids", "must be token ids");
    job.resume_tokens.push_back(*token);
  }
}

// What both kinds of request have: who the job is and where it stands.
void read_identity(FieldReader& fields, JobRequest& job) {
  if (!fields.has("job_id")) fields.add("job_id", "required", "is required");
  job.id.value = fields
                     .text("job_id", {.bytes_min = 1,
                                      .bytes_max = limits::job_id_bytes_max,
                                      .control_characters = false})
                     .value_or("");
  job.attempt = static_cast<std::uint32_t>(fields.integer("attempt", 0, uint32_max).value_or(0));
  job.cache_scope =
      fields.text("cache_scope", {.bytes_min = 0, .bytes_max = limits::cache_scope_bytes_max})
          .value_or("");
  read_resume_tokens(fields, job);
}

void read_prompt(FieldReader& fields, Violations& violations, JobRequest& job) {
  if (fields.has("prompt") == fields.has("messages")) {
    fields.add("prompt", "prompt or messages", "and messages: exactly one of the two is wanted");
    return;
  }
  if (fields.has("messages")) {
    ChatPrompt chat;
    chat.messages = read_messages(fields, violations, OtherFields::refused);
    job.prompt = std::move(chat);
    return;
  }
  job.prompt =
      fields.text("prompt", {.bytes_min = 1, .bytes_max = limits::prompt_bytes_max}).value_or("");
}

// The relayed body takes the place of prompt, messages and sampling fields.
std::optional<Relay> read_relay(FieldReader& fields, Violations& violations, JobRequest& job) {
  const auto* const given = fields.object("openai");
  if (given == nullptr) return std::nullopt;
  Relay relay;
  FieldReader inner(*given, violations, "openai.");
  const auto path = inner.text("route", {.bytes_min = 1, .bytes_max = 64});
  const auto route = path ? route_from_path(*path) : std::nullopt;
  if (!route) {
    inner.add("route", "a generation route", "must be /v1/chat/completions or /v1/completions");
  }
  relay.route = route.value_or(OpenAiRoute::chat_completions);
  if (!inner.has("completion_id")) inner.add("completion_id", "required", "is required");
  relay.completion_id =
      inner.text("completion_id", {.bytes_min = 1, .bytes_max = 256, .control_characters = false})
          .value_or("");
  relay.created = static_cast<std::int64_t>(
      inner.integer("created", 0, std::numeric_limits<std::int64_t>::max()).value_or(0));
  if (!inner.has("body")) inner.add("body", "required", "is required");
  if (const auto* const body = inner.object("body"); body != nullptr && route) {
    FieldReader body_fields(*body, violations, "openai.body.");
    JobRequest identity = std::move(job);
    auto request = read_openai(*route, body_fields, violations);
    relay.stream = request.stream;
    relay.include_usage = request.include_usage;
    relay.model = std::move(request.model);
    job = std::move(request.job);
    job.id = std::move(identity.id);
    job.attempt = identity.attempt;
    job.cache_scope = std::move(identity.cache_scope);
    job.resume_tokens = std::move(identity.resume_tokens);
  }
  inner.refuse_others();
  return relay;
}

void append_message(std::string& out, const ChatMessage& message) {
  JsonObjectWriter row(out);
  row.string("role", message.role).string("content", message.content);
  if (!message.reasoning_content.empty()) {
    row.string("reasoning_content", message.reasoning_content);
  }
  if (!message.name.empty()) row.string("name", message.name);
  if (!message.tool_call_id.empty()) row.string("tool_call_id", message.tool_call_id);
  if (!message.tool_calls.empty()) {
    append_json_list(row.key("tool_calls"), message.tool_calls, [&](const ToolCall& call) {
      JsonObjectWriter entry(out);
      entry.string("id", call.id).string("type", "function");
      JsonObjectWriter(entry.key("function"))
          .string("name", call.name)
          .string("arguments", call.arguments_json)
          .end();
      entry.end();
    });
  }
  row.end();
}

void write_identity(std::string& out, JsonObjectWriter& row, const JobRequest& job) {
  row.string("job_id", job.id.value);
  if (job.attempt != 0) row.integer("attempt", job.attempt);
  if (!job.cache_scope.empty()) row.string("cache_scope", job.cache_scope);
  if (!job.resume_tokens.empty()) {
    append_json_list(row.key("resume_tokens"), job.resume_tokens,
                     [&](Token token) { append_json_int(out, token); });
  }
}

void write_sampling(JsonObjectWriter& row, const SamplingFields& sampling) {
  if (sampling.temperature) row.number("temperature", *sampling.temperature);
  if (sampling.top_p) row.number("top_p", *sampling.top_p);
  if (sampling.top_k) row.integer("top_k", *sampling.top_k);
  if (sampling.min_p) row.number("min_p", *sampling.min_p);
  if (sampling.repetition_penalty) row.number("repetition_penalty", *sampling.repetition_penalty);
  if (sampling.seed) row.unsigned_integer("seed", *sampling.seed);
}

void write_format(JsonObjectWriter& row, const OutputFormat& format) {
  switch (format.kind) {
    case OutputFormat::Kind::text:
      break;
    case OutputFormat::Kind::json_object:
      row.raw("response_format", R"({"type":"json_object"})");
      break;
    case OutputFormat::Kind::json_schema:
      row.raw("response_format",
              R"({"type":"json_schema","json_schema":{"schema":)" + format.source + "}}");
      break;
    case OutputFormat::Kind::grammar:
      row.string("grammar", format.source);
      break;
  }
}

}  // namespace

void read_generation(FieldReader& fields, Violations& violations, JobRequest& job) {
  read_prompt(fields, violations, job);
  job.max_tokens = fields.integer("max_tokens", 1, uint64_max).value_or(limits::max_tokens_default);
  read_sampling(fields, job.sampling);
  job.sampling.seed = fields.seed("seed", false);
  job.stop = read_stop(fields, false);
  job.format = read_format(fields);
  job.ignore_eos = fields.boolean("ignore_eos").value_or(false);
  job.deterministic = fields.boolean("deterministic").value_or(false);
}

Result<ExecuteRequest> decode_execute(std::string_view body) {
  return decode_object(body, [](FieldReader& fields, Violations& violations) {
    ExecuteRequest request;
    read_identity(fields, request.job);
    if (fields.has("openai")) {
      request.relay = read_relay(fields, violations, request.job);
    } else {
      read_generation(fields, violations, request.job);
    }
    fields.refuse_others();
    return request;
  });
}

std::string encode_execute(const JobRequest& job) {
  std::string out;
  JsonObjectWriter row(out);
  write_identity(out, row, job);
  if (const auto* const text = std::get_if<std::string>(&job.prompt)) {
    row.string("prompt", *text);
  } else {
    const auto* const chat = std::get_if<ChatPrompt>(&job.prompt);
    assert(chat != nullptr && chat->tools.empty());
    append_json_list(row.key("messages"), chat->messages,
                     [&](const ChatMessage& message) { append_message(out, message); });
  }
  if (job.max_tokens) row.unsigned_integer("max_tokens", *job.max_tokens);
  write_sampling(row, job.sampling);
  if (!job.stop.empty()) {
    append_json_list(row.key("stop"), job.stop,
                     [&](const std::string& stop) { append_json_string(out, stop); });
  }
  write_format(row, job.format);
  if (job.ignore_eos) row.boolean("ignore_eos", true);
  if (job.deterministic) row.boolean("deterministic", true);
  row.end();
  return out;
}

std::string encode_execute_relay(const JobRequest& job, OpenAiRoute route,
                                 std::string_view openai_body, std::string_view completion_id,
                                 std::int64_t created) {
  constexpr std::size_t around_bytes = 256;
  std::string out;
  out.reserve(openai_body.size() + around_bytes);
  JsonObjectWriter row(out);
  write_identity(out, row, job);
  JsonObjectWriter relay(row.key("openai"));
  relay.string("route", route_path(route))
      .string("completion_id", completion_id)
      .integer("created", created)
      .raw("body", openai_body)
      .end();
  row.end();
  return out;
}

}  // namespace llorch
