#include "worker/route_table.h"

#include <array>
#include <vector>

#include "console/spelling.h"

namespace llorch {
namespace {

constexpr std::array routes = {
    Route{RouteId::execute, "POST", "/execute"},
    Route{RouteId::cancel, "POST", "/cancel"},
    Route{RouteId::health, "GET", "/health", true},
    Route{RouteId::ready, "GET", "/ready", true},
    Route{RouteId::metrics, "GET", "/metrics", true},
    Route{RouteId::shutdown, "POST", "/shutdown"},
    Route{RouteId::models, "GET", "/v1/models", false, true},
    Route{RouteId::model, "GET", "/v1/models/", false, true},
    Route{RouteId::chat_completions, "POST", "/v1/chat/completions", false, true},
    Route{RouteId::completions, "POST", "/v1/completions", false, true},
    Route{RouteId::embeddings, "POST", "/v1/embeddings", false, true},
    Route{RouteId::tokenize, "POST", "/tokenize"},
    Route{RouteId::detokenize, "POST", "/detokenize"},
};

bool covers(std::string_view pattern, std::string_view path) {
  if (!pattern.ends_with('/')) return pattern == path;
  return path.size() > pattern.size() && path.starts_with(pattern);
}

std::string near_path(std::string_view path) {
  constexpr std::size_t path_bytes_max = 64;  // what is longer was not mistyped
  if (path.size() > path_bytes_max) return {};
  for (const auto& route : routes) {  // "/chat/completions", "/v1/chat", "/v1/execute"
    const bool inside =
        path.size() > 1 && (route.path.ends_with(path) || path.ends_with(route.path));
    if (inside) return std::string(route.path);
  }
  std::vector<std::string> known;
  for (const auto& route : routes) known.emplace_back(route.path);
  return nearest_word(path, known);
}

}  // namespace

std::span<const Route> worker_routes() {
  return routes;
}

RouteMatch find_route(std::string_view method, std::string_view path) {
  RouteMatch match;
  for (const auto& route : routes) {
    if (!covers(route.path, path)) continue;
    // HEAD is GET without the body (RFC 9110 §9.3.2); the server leaves the body out.
    if (route.method == method || (method == "HEAD" && route.method == "GET")) {
      match.route = &route;
      return match;
    }
    match.allow = route.method == "GET" ? "GET, HEAD" : std::string(route.method);
  }
  if (match.allow.empty()) match.near = near_path(path);
  return match;
}

}  // namespace llorch
