#include "api/reply.h"

namespace llorch {

net::Headers reply_headers(std::string_view content_type, const std::string& correlation_id,
                           const std::string& job_id) {
  net::Headers headers;
  headers.add("Content-Type", std::string(content_type));
  headers.add("X-Correlation-Id", correlation_id);
  headers.add("x-request-id", job_id.empty() ? correlation_id : job_id);
  return headers;
}

net::HttpResponse error_response(const Error& error, const std::string& correlation_id,
                                 const std::string& job_id, ErrorShape errors) {
  net::HttpResponse response;
  response.status = http_status(client_code(error.code));
  response.headers = reply_headers("application/json", correlation_id, job_id);
  for (const auto& [name, value] : error_headers(error)) response.headers.add(name, value);
  response.body = error_body(error, correlation_id, errors);
  return response;
}

}  // namespace llorch
