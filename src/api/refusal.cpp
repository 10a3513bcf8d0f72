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
  const Error error{.code = refused.code,
                    .message = std::string(refused.message),
                    .retry_after_ms = refused.retry_after_ms};
  return error_response(error, correlation_id_of(request.headers.find("X-Correlation-Id")), {},
                        is_openai_path(request.path) ? ErrorShape::openai : ErrorShape::ours);
}

}  // namespace llorch
