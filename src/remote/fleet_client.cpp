#include "remote/fleet_client.h"

#include <fmt/format.h>
#include <utility>
#include <vector>

#include "net/event.h"
#include "protocol/error_body.h"
#include "protocol/json_parse.h"
#include "remote/reply_fields.h"

namespace llorch {
namespace {

using std::chrono::milliseconds;

std::string escaped(std::string_view text) {
  constexpr std::string_view plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
  std::string out;
  for (const char c : text) {
    if (plain.find(c) != plain.npos) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

bool has_ended(const boost::json::object& job) {
  const auto status = text_field(job, "status");
  return status == "completed" || status == "failed" || status == "cancelled";
}

}  // namespace

// How far a job's events have been read, across connections.
struct FleetClient::Reading {
  std::function<bool(const SseEvent&)> take;
  std::string last_id;
  bool opened = false;  // a stream has begun: what breaks now is worth another attempt
  bool over = false;    // its end has come, or nobody wants more
};

std::string path_of(std::string_view folder, std::string_view id) {
  return std::string(folder) + escaped(id);
}

std::string query_of(std::string_view name, std::string_view value) {
  return std::string(name) + "=" + escaped(value);
}

FleetClient::FleetClient(asio::io_context& io, InferTarget target, milliseconds reply_wait)
    : target_(std::move(target)), http_(io), reply_wait_(reply_wait) {}

Task<Result<boost::json::object>> FleetClient::get(std::string path) {
  auto request = target_.request("GET");
  auto reply = co_await ask(std::move(path), std::move(request));
  co_return reply;
}

Task<Result<boost::json::object>> FleetClient::post(std::string path, std::string body) {
  auto request = target_.request("POST", std::move(body));
  auto reply = co_await ask(std::move(path), std::move(request));
  co_return reply;
}

Task<Result<boost::json::object>> FleetClient::remove(std::string path) {
  auto request = target_.request("DELETE");
  auto reply = co_await ask(std::move(path), std::move(request));
  co_return reply;
}

Task<Result<boost::json::object>> FleetClient::submit(std::string task,
                                                      std::string idempotency_key) {
  auto request = target_.request("POST", std::move(task));
  request.headers.set("Idempotency-Key", std::move(idempotency_key));
  std::string path = "/v2/tasks";
  auto reply = co_await ask(std::move(path), std::move(request));
  co_return reply;
}

Task<Result<boost::json::object>> FleetClient::ask(std::string path, net::HttpRequest request) {
  auto url = target_.at(std::move(path));
  const auto reply = co_await http_.fetch(std::move(url), std::move(request), reply_wait_);
  if (!reply) co_return fail(reply.error());
  if (reply->status / 100 != 2) co_return fail(decode_error(reply->status, reply->body).error);
  auto body = parse_json_object(reply->body, limits::response_bytes_max);
  if (!body) co_return fail(Code::internal, "the reply is not a JSON object");
  co_return std::move(*body);
}

Task<Result<void>> FleetClient::follow(std::string job_id, std::optional<std::uint64_t> after,
                                       std::function<bool(const SseEvent&)> take) {
  Reading reading{.take = std::move(take), .last_id = after ? std::to_string(*after) : ""};
  const auto path = path_of("/v2/tasks/", job_id) + "/events";
  milliseconds backoff{limits::resume_backoff_ms};
  for (int fruitless = 0;; ++fruitless) {
    const auto before = reading.last_id;
    const auto read = co_await read_events(path, reading);
    if (reading.over) co_return Result<void>{};
    if (!read && (!reading.opened || !is_retriable(read.error().code))) co_return read;
    if (reading.last_id != before) {
      fruitless = 0;
      backoff = milliseconds{limits::resume_backoff_ms};
    } else if (read) {
      const auto job = co_await get(path_of("/v2/tasks/", job_id));
      if (job && has_ended(*job)) co_return Result<void>{};  // `after` was its end
    }
    if (fruitless >= limits::resume_attempts_max) {
      if (!read) co_return read;
      co_return fail(Code::unreachable, "the stream ended before the job did");
    }
    co_await net::sleep_for(backoff);
    backoff *= 2;
  }
}

// One connection's share of a job's events.
Task<Result<void>> FleetClient::read_events(std::string path, Reading& reading) {
  auto url = target_.at(std::move(path));
  auto request = target_.request("GET");
  request.headers.set("Accept", "text/event-stream");
  if (!reading.last_id.empty()) request.headers.set("Last-Event-ID", reading.last_id);
  auto opened = co_await http_.open(std::move(url), std::move(request), reply_wait_);
  if (!opened) co_return fail(opened.error());
  auto& stream = **opened;
  std::string refusal;
  SseParser parser;
  std::vector<SseEvent> events;
  for (;;) {
    const auto bytes = co_await stream.read(milliseconds{limits::stream_silence_ms});
    if (!bytes) co_return fail(bytes.error());
    if (stream.status() != 200) {
      refusal += *bytes;
      if (!bytes->empty() && refusal.size() < limits::error_bytes_max) continue;
      co_return fail(decode_error(stream.status(), refusal).error);
    }
    reading.opened = true;
    if (bytes->empty()) co_return Result<void>{};
    events.clear();
    const auto parsed = parser.feed(*bytes, events);
    if (!parsed) co_return fail(parsed.error());
    for (const auto& event : events) {
      if (!event.id.empty() && net::is_header_value(event.id)) reading.last_id = event.id;
      reading.over = !reading.take(event) || event.type == "end" || event.type == "error";
      if (reading.over) co_return Result<void>{};
    }
  }
}

}  // namespace llorch
