#include "api/refusal.h"

#include <string>

#include "api/auth.h"
#include "api/reply.h"

namespace llorch {

bool is_openai_path(std::string_view path) {
  return path == "/v1" || path.starts_with("/v1/");
}

net::HttpResponse refusal_response(const net::RefusedRequest& refused) {
  const auto& request = refused.request;
  Error error{.code = refused.code,
              .message = std::string(refused.message),
              .retry_after_ms = refused.retry_after_ms};
  if (error.code == Code::invalid_request) {
    // The headers of a head that was refused are not known; a body never comes without any.
    error.violations = {{.field = request.headers.empty() ? "head" : "body",
                         .constraint = "HTTP/1.1",
                         .message = error.message}};
  }
  return error_response(error, correlation_id_of(request.headers.find("X-Correlation-Id")), {},
                        is_openai_path(request.path) ? ErrorShape::openai : ErrorShape::ours);
}

}  // namespace llorch
