#include "api/cross_origin.h"

#include <string>

#include "base/limits.h"

namespace llorch {

net::Headers cross_origin_headers(const AllowedNames& names, const net::HttpRequest& request) {
  net::Headers headers;
  const auto origin = request.headers.find("Origin");
  if (!origin || !is_allowed_origin(names, *origin)) return headers;
  // The origin itself, never "*": what may read a reply is told apart by caches.
  headers.add("Access-Control-Allow-Origin", std::string(*origin));
  headers.add("Vary", "Origin");
  headers.add("Access-Control-Expose-Headers",
              "X-Correlation-Id, x-request-id, Retry-After, retry-after-ms, X-Queue-Position, "
              "X-Queue-Wait-Ms");
  return headers;
}

std::optional<net::HttpResponse> preflight_response(const AllowedNames& names,
                                                    const net::HttpRequest& request) {
  if (request.method != "OPTIONS" || !request.headers.find("Access-Control-Request-Method")) {
    return std::nullopt;
  }
  net::HttpResponse response;
  response.status = 204;
  response.headers = cross_origin_headers(names, request);
  if (response.headers.empty()) return std::nullopt;
  response.headers.add("Access-Control-Allow-Methods", "GET, POST, DELETE");
  // Whatever is asked for: SDKs send headers of their own, and none of them opens anything.
  if (const auto asked = request.headers.find("Access-Control-Request-Headers")) {
    response.headers.add("Access-Control-Allow-Headers", std::string(*asked));
  }
  response.headers.add("Access-Control-Max-Age", std::to_string(limits::preflight_kept_s));
  return response;
}

}  // namespace llorch
