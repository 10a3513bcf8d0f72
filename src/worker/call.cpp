#include "worker/call.h"

#include <utility>

namespace llorch {

net::Headers reply_headers(const Call& call, std::string_view content_type) {
  return reply_headers(content_type, call.correlation_id, call.job_id);
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
  auto response = error_response(error, call.correlation_id, call.job_id, call.errors);
  response.status = status;
  for (const auto& [name, value] : more) response.headers.add(name, value);
  const auto sent = co_await call.exchange.reply(std::move(response));
  static_cast<void>(sent);
}

}  // namespace llorch
