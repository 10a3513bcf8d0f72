#include "worker/call.h"

#include <utility>

namespace llorch {

namespace {

net::Headers headers_of(std::string_view content_type, const std::string& correlation_id,
                        const std::string& job_id) {
  net::Headers headers;
  headers.add("Content-Type", std::string(content_type));
  headers.add("X-Correlation-Id", correlation_id);
  headers.add("x-request-id", job_id.empty() ? correlation_id : job_id);
  return headers;
}

}  // namespace

net::Headers reply_headers(const Call& call, std::string_view content_type) {
  return headers_of(content_type, call.correlation_id, call.job_id);
}

net::HttpResponse error_response(const Error& error, const std::string& correlation_id,
                                 const std::string& job_id, ErrorShape errors) {
  net::HttpResponse response;
  response.status = http_status(client_code(error.code));
  response.headers = headers_of("application/json", correlation_id, job_id);
  for (const auto& [name, value] : error_headers(error)) response.headers.add(name, value);
  response.body = error_body(error, correlation_id, errors);
  return response;
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
