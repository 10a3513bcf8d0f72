#include "protocol/job_stream.h"

#include <array>
#include <boost/json/monotonic_resource.hpp>
#include <charconv>
#include <limits>
#include <utility>

#include "protocol/error_body.h"
#include "protocol/field_reader.h"
#include "protocol/json_parse.h"
#include "protocol/json_text.h"

namespace llorch {
namespace {

constexpr std::array<std::string_view, 4> stop_reasons = {"EOS", "MAX_TOKENS", "STOP_SEQUENCE",
                                                          "CANCELLED"};
constexpr std::array<std::string_view, 3> phases = {"queued", "prefill", "decode"};

// Begins a frame and the object in it: id and event lines, then data with its type.
JsonObjectWriter begin_event(std::string& out, std::string_view type) {
  out.append("event: ").append(type).append("\ndata: ");
  JsonObjectWriter row(out);
  row.string("type", type);
  return row;
}

void end_event(std::string& out, JsonObjectWriter& row) {
  row.end();
  out += "\n\n";
}

void append_id(std::string& out, std::int64_t seq) {
  out += "id: ";
  append_json_int(out, seq);
  out += '\n';
}

// The hot one: one token event.
void append_token_event(std::string& out, const TokenEvent& event) {
  out += "id: ";
  append_json_int(out, event.i + first_token_seq);
  out += ':';
  append_json_int(out, event.id);
  out += "\nevent: token\ndata: {\"type\":\"token\",\"t\":";
  append_json_string(out, event.t);
  out += ",\"i\":";
  append_json_int(out, event.i);
  out += ",\"id\":";
  append_json_int(out, event.id);
  out += "}\n\n";
}

constexpr std::uint64_t count_max = std::numeric_limits<std::int64_t>::max();
constexpr TextRange event_text{.bytes_min = 0, .bytes_max = limits::sse_event_bytes_max};

std::int64_t read_count(FieldReader& fields, std::string_view name) {
  return static_cast<std::int64_t>(fields.integer(name, 0, count_max).value_or(0));
}

double read_ms(FieldReader& fields, std::string_view name) {
  return fields.number(name, {.min = 0, .max = std::numeric_limits<double>::max()}).value_or(0);
}

std::string read_text(FieldReader& fields, std::string_view name) {
  return fields.text(name, event_text).value_or("");
}

StartedEvent read_started(FieldReader& fields) {
  return {.job_id = read_text(fields, "job_id"),
          .model = read_text(fields, "model"),
          .seed = fields.seed("seed", false).value_or(0),
          .started_at = read_text(fields, "started_at"),
          .prompt_tokens = read_count(fields, "prompt_tokens"),
          .cached_tokens = read_count(fields, "cached_tokens")};
}

TokenEvent read_token(FieldReader& fields) {
  constexpr std::uint64_t token_max = std::numeric_limits<Token>::max();
  for (const char* const name : {"t", "i", "id"}) {
    if (!fields.has(name)) fields.add(name, "required", "is required");
  }
  return {.t = read_text(fields, "t"),
          .i = read_count(fields, "i"),
          .id = static_cast<Token>(fields.integer("id", 0, token_max).value_or(0))};
}

MetricsEvent read_metrics(FieldReader& fields) {
  MetricsEvent event;
  const auto phase = read_text(fields, "phase");
  for (std::size_t i = 0; i < phases.size(); ++i) {
    if (phase == phases[i]) event.phase = static_cast<MetricsEvent::Phase>(i);
  }
  event.prompt_done = read_count(fields, "prompt_done");
  event.prompt_total = read_count(fields, "prompt_total");
  event.engine_step = fields.seed("engine_step", false).value_or(0);
  event.tokens_out = read_count(fields, "tokens_out");
  return event;
}

EndEvent read_end(FieldReader& fields) {
  const auto reason = stop_reason_from_wire(read_text(fields, "stop_reason"));
  if (!reason) fields.add("stop_reason", "a stop reason", "must be a stop reason");
  return {.tokens_out = read_count(fields, "tokens_out"),
          .stop_reason = reason.value_or(StopReason::EOS),
          .stop_sequence_matched = read_text(fields, "stop_sequence_matched"),
          .prefill_ms = read_ms(fields, "prefill_ms"),
          .decode_time_ms = read_ms(fields, "decode_time_ms"),
          .t = read_text(fields, "t")};
}

}  // namespace

std::string_view wire_name(StopReason reason) {
  return stop_reasons.at(static_cast<std::size_t>(reason));
}

std::optional<StopReason> stop_reason_from_wire(std::string_view name) {
  for (std::size_t i = 0; i < stop_reasons.size(); ++i) {
    if (stop_reasons[i] == name) return static_cast<StopReason>(i);
  }
  return std::nullopt;
}

void append_started_event(std::string& out, const StartedEvent& event) {
  append_id(out, first_token_seq - 1);
  auto row = begin_event(out, "started");
  row.string("job_id", event.job_id)
      .string("model", event.model)
      .unsigned_integer("seed", event.seed)
      .string("started_at", event.started_at)
      .integer("prompt_tokens", event.prompt_tokens)
      .integer("cached_tokens", event.cached_tokens);
  end_event(out, row);
}

void append_metrics_event(std::string& out, const MetricsEvent& event) {
  auto row = begin_event(out, "metrics");
  row.string("phase", phases.at(static_cast<std::size_t>(event.phase)))
      .integer("prompt_done", event.prompt_done)
      .integer("prompt_total", event.prompt_total)
      .unsigned_integer("engine_step", event.engine_step);
  if (event.phase == MetricsEvent::Phase::decode) row.integer("tokens_out", event.tokens_out);
  end_event(out, row);
}

void append_error_event(std::string& out, std::int64_t seq, const Error& error,
                        std::string_view correlation_id) {
  append_id(out, seq);
  out += "event: error\ndata: {\"type\":\"error\",";
  append_error_members(out, error, correlation_id, ErrorShape::ours);
  out += "}\n\n";
}

void JobStreamWriter::flush_held(std::string& out) {
  if (held_) append_token_event(out, *held_);
  held_.reset();
}

void JobStreamWriter::token(const TokenOut& event, std::string& out) {
  flush_held(out);
  next_index_ = event.index + 1;
  TokenEvent frame{.t = event.text, .i = event.index, .id = event.id};
  if (event.held) {
    held_ = std::move(frame);
  } else {
    append_token_event(out, frame);
  }
}

void JobStreamWriter::ended(const Ended& event, std::string& out) {
  const bool carried = held_.has_value();
  if (carried) held_->t += event.tail;
  flush_held(out);
  append_id(out, next_index_ + first_token_seq);
  auto row = begin_event(out, "end");
  row.integer("tokens_out", event.tokens_out).string("stop_reason", wire_name(event.reason));
  if (event.reason == StopReason::STOP_SEQUENCE) {
    row.string("stop_sequence_matched", event.stop_sequence);
  }
  row.number("prefill_ms", event.prefill_ms).number("decode_time_ms", event.decode_time_ms);
  if (!carried && !event.tail.empty()) row.string("t", event.tail);
  end_event(out, row);
}

void JobStreamWriter::failed(const Error& error, std::string_view correlation_id,
                             std::string& out) {
  flush_held(out);
  append_error_event(out, next_index_ + first_token_seq, error, correlation_id);
}

Result<std::optional<JobStreamEvent>> decode_job_event(const SseEvent& event) {
  if (event.type == "error") {
    auto remote = decode_error_event(event.data);
    return ErrorEvent{std::move(remote.error), std::move(remote.correlation_id)};
  }
  std::array<unsigned char, 2'048> space;  // of a usual event
  boost::json::monotonic_resource memory(space.data(), space.size());
  const auto object = parse_json_object(event.data, limits::sse_event_bytes_max, &memory);
  if (!object) return fail(object.error());
  Violations violations;
  FieldReader fields(*object, violations);
  std::optional<JobStreamEvent> decoded;
  if (event.type == "token") {
    decoded = read_token(fields);
  } else if (event.type == "started") {
    decoded = read_started(fields);
  } else if (event.type == "metrics") {
    decoded = read_metrics(fields);
  } else if (event.type == "end") {
    decoded = read_end(fields);
  } else if (event.type == "queued") {
    decoded = QueuedEvent{read_text(fields, "job_id")};
  }
  if (!violations.empty()) return fail(std::move(violations).error());
  return decoded;
}

Result<StreamPosition> parse_stream_position(std::string_view id) {
  StreamPosition position;
  if (const auto read = read_stream_position(id, position); !read) return fail(read.error());
  return position;
}

Result<void> read_stream_position(std::string_view id, StreamPosition& position) {
  const auto refuse = [] {
    return fail(Code::invalid_request, "an event id must be SEQ or SEQ:TOKEN_ID[,TOKEN_ID...]");
  };
  const char* at = id.data();
  const char* const end = id.data() + id.size();
  position.token_ids.clear();
  auto [stop, status] = std::from_chars(at, end, position.seq);
  if (status != std::errc{} || position.seq < 0) return refuse();
  for (char separator = ':'; stop != end; separator = ',') {
    if (*stop != separator) return refuse();
    at = stop + 1;
    Token token = 0;
    const auto next = std::from_chars(at, end, token);
    if (next.ec != std::errc{} || token < 0) return refuse();
    position.token_ids.push_back(token);
    stop = next.ptr;
  }
  return {};
}

}  // namespace llorch
