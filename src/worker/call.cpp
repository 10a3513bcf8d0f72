#include "worker/call.h"

#include <utility>

namespace llorch {

net::Headers reply_headers(const Call& call, std::string_view content_type) {
  net::Headers headers;
  headers.add("Content-Type", std::string(content_type));
  headers.add("X-Correlation-Id", call.correlation_id);
  headers.add("x-request-id", call.job_id.empty() ? call.correlation_id : call.job_id);
  return headers;
}

Task<void> reply_json(const Call& call, unsigned status, std::string body) {
  net::HttpResponse response;
  response.status = status;
  response.headers = reply_headers(call, "application/json");
  response.body = std::move(body);
  const auto sent = co_await call.exchange.reply(std::move(response));
  static_cast<void>(sent);
}

Task<void> reply_text(const Call& call, std::string_view content_type, std::string body) {
  net::HttpResponse response;
  response.status = 200;
  response.headers = reply_headers(call, content_type);
  response.body = std::move(body);
  const auto sent = co_await call.exchange.reply(std::move(response));
  static_cast<void>(sent);
}

Task<void> reply_error(const Call& call, const Error& error) {
  const net::Headers none;
  co_await reply_error(call, error, http_status(client_code(error.code)), none);
}

Task<void> reply_error(const Call& call, const Error& error, unsigned status,
                       const net::Headers& more) {
  net::HttpResponse response;
  response.status = status;
  response.headers = reply_headers(call, "application/json");
  for (const auto& [name, value] : error_headers(error)) response.headers.add(name, value);
  for (const auto& [name, value] : more) response.headers.add(name, value);
  response.body = error_body(error, call.correlation_id, call.errors);
  const auto sent = co_await call.exchange.reply(std::move(response));
  static_cast<void>(sent);
}

}  // namespace llorch
