#include "remote/event_text.h"

#include <algorithm>
#include <fmt/format.h>

#include "protocol/job_stream.h"
#include "protocol/json_parse.h"
#include "protocol/json_text.h"

namespace llorch {
namespace {

// {"id":"3:1234","event":"token","data":{…}}: figures that are not kept have no id of their own.
std::string json_line(const SseEvent& event) {
  std::string data = event.data;
  std::ranges::replace(data, '\n', ' ');  // between tokens of JSON: in a string it is escaped
  std::string line;
  JsonObjectWriter row(line);
  if (event.type != "metrics") row.string("id", event.id);
  row.string("event", event.type).raw("data", data).end();
  return line + "\n";
}

}  // namespace

Result<std::string> EventText::take(const SseEvent& event) {
  const auto decoded = decode_job_event(event);
  if (!decoded) {
    return fail(Code::internal, "an event cannot be read: " + decoded.error().message);
  }
  std::string text;
  if (const auto& known = *decoded; known) {
    if (const auto* token = std::get_if<TokenEvent>(&*known)) text = token->t;
    if (const auto* end = std::get_if<EndEvent>(&*known)) {
      text = end->t;
      summary_ = fmt::format("{} token{}, stop {}", end->tokens_out,
                             end->tokens_out == 1 ? "" : "s", wire_name(end->stop_reason));
      cancelled_ = end->stop_reason == StopReason::CANCELLED;
    }
    if (const auto* failed = std::get_if<ErrorEvent>(&*known)) error_ = failed->error;
  }
  if (!json_) return text;
  if (!parse_json(event.data, limits::sse_event_bytes_max)) {
    return fail(Code::internal, "an event is not JSON");
  }
  return json_line(event);
}

Result<void> EventText::verdict(const std::string& job_id) const {
  if (error_) return fail(*error_);
  if (cancelled_) return fail(Code::cancelled, "job " + job_id + ": someone cancelled it");
  return {};
}

}  // namespace llorch
