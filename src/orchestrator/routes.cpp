#include "orchestrator/routes.h"

#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "api/auth.h"
#include "api/cross_origin.h"
#include "api/refusal.h"
#include "console/spelling.h"

namespace llorch {
namespace {

constexpr std::array routes = {
    Route{"POST", "/v2/tasks", Role::client, submit_task_route},
    Route{"GET", "/v2/tasks", Role::client, list_tasks_route},
    Route{"GET", "/v2/tasks/{}", Role::client, task_route},
    Route{"DELETE", "/v2/tasks/{}", Role::client, cancel_task_route},
    Route{"GET", "/v2/tasks/{}/events", Role::client, task_events_route},
    Route{"POST", "/v2/tasks/{}/cancel", Role::client, cancel_task_route},
    Route{"POST", "/cancel", Role::client, cancel_route},
    Route{"GET", "/v2/explain/{}", Role::client, explain_route},
    Route{"POST", "/v1/chat/completions", Role::client, chat_route},
    Route{"POST", "/v1/completions", Role::client, completions_route},
    Route{"POST", "/v1/embeddings", Role::client, embeddings_route},
    Route{"GET", "/v1/models", Role::client, models_route},
    Route{"GET", "/v1/models/{}", Role::client, model_route},
    Route{"POST", "/workers/register", Role::worker, register_route},
    Route{"POST", "/workers/{}/heartbeat", Role::worker, heartbeat_route},
    Route{"GET", "/v2/workers", Role::admin, list_workers_route},
    Route{"GET", "/v2/workers/{}", Role::admin, worker_route},
    Route{"DELETE", "/v2/workers/{}", Role::worker, delete_worker_route},
    Route{"POST", "/v2/workers/{}/drain", Role::admin, drain_worker_route},
    Route{"GET", "/v2/policy", Role::admin, policy_route},
    Route{"POST", "/v2/policy/validate", Role::admin, validate_policy_route},
    Route{"POST", "/v2/policy/deploy", Role::admin, deploy_policy_route},
    Route{"POST", "/v2/policy/rollback", Role::admin, rollback_policy_route},
    Route{"POST", "/v2/keys", Role::admin, add_key_route},
    Route{"GET", "/v2/keys", Role::admin, list_keys_route},
    Route{"DELETE", "/v2/keys/{}", Role::admin, revoke_key_route},
    Route{"POST", "/v2/keys/{}/rotate", Role::admin, rotate_key_route},
    Route{"POST", "/v2/policy/replay", Role::admin, replay_policy_route},
    Route{"GET", "/v2/usage", Role::admin, usage_route},
    Route{"GET", "/health", Role::open, health_route},
    Route{"GET", "/ready", Role::open, ready_route},
    Route{"GET", "/metrics", Role::open, metrics_route},
    Route{"GET", "/v2/meta/version", Role::client, version_route},
};

// What stands for "{}"; nullopt when the path is another one.
std::optional<std::string_view> match(std::string_view pattern, std::string_view path) {
  const auto hole = pattern.find("{}");
  if (hole == pattern.npos) {
    return pattern == path ? std::optional(std::string_view{}) : std::nullopt;
  }
  const auto after = pattern.substr(hole + 2);
  if (path.size() <= hole + after.size()) return std::nullopt;
  if (!path.starts_with(pattern.substr(0, hole)) || !path.ends_with(after)) return std::nullopt;
  const auto id = path.substr(hole, path.size() - hole - after.size());
  return id.find('/') == id.npos ? std::optional(id) : std::nullopt;
}

std::string near_path(std::string_view path) {
  constexpr std::size_t path_bytes_max = 64;  // what is longer was not mistyped
  if (path.size() > path_bytes_max) return {};
  std::vector<std::string> known;
  for (const auto& route : routes) known.emplace_back(route.path);
  return nearest_word(path, known);
}

Task<void> refuse_path(Call& call, const std::string& allow) {
  const auto& path = call.exchange.request().path;
  if (allow.empty()) {
    const auto near = near_path(path);
    const Error error{
        .code = Code::not_found,
        .message = near.empty() ? "no such route" : "no such route; meant " + near + "?"};
    co_return co_await reply_error(call, error);
  }
  const Error error{.code = Code::invalid_request, .message = "this route takes " + allow};
  auto response = error_response(error, call.correlation_id, {}, call.errors);
  response.status = 405;
  response.headers.add("Allow", allow);
  co_await reply_with(call, std::move(response));
}

Result<Identity> admit(const Call& call, Role role) {
  if (role == Role::open) return Identity{};
  const auto& service = call.service;
  const auto& headers = call.exchange.request().headers;
  const Caller caller{.authorization = headers.find("Authorization"),
                      .host = headers.find("Host"),
                      .origin = headers.find("Origin")};
  if (!service.keys().is_on()) {
    const auto named = check_names(caller, service.machine_name(), service.options().allowed_names);
    if (!named) return fail(named.error());
    return Identity{};
  }
  auto identity = service.keys().identify(caller.authorization, unix_ms(service.clock().wall()));
  if (!identity) return identity;
  if (const auto may = identity->may_call(role); !may) return fail(may.error());
  return identity;
}

}  // namespace

std::span<const Route> orchestrator_routes() {
  return routes;
}

Task<void> serve_request(Orchestrator& service, net::Exchange& exchange) {
  const auto& request = exchange.request();
  Call call{.service = service,
            .exchange = exchange,
            .correlation_id = correlation_id_of(request.headers.find("X-Correlation-Id")),
            .errors = is_openai_path(request.path) ? ErrorShape::openai : ErrorShape::ours};
  const auto& names = service.options().allowed_names;
  if (auto answer = preflight_response(names, request)) {
    co_return co_await reply_with(call, std::move(*answer));
  }
  call.shared_headers = cross_origin_headers(names, request);
  std::string allow;
  for (const auto& route : routes) {
    const auto id = match(route.path, request.path);
    if (!id) continue;
    const bool head = request.method == "HEAD" && route.method == "GET";
    if (route.method != request.method && !head) {
      allow += (allow.empty() ? "" : ", ") + std::string(route.method);
      continue;
    }
    auto identity = admit(call, route.role);
    if (!identity) co_return co_await reply_error(call, identity.error());
    call.identity = std::move(*identity);
    call.id = net::percent_decoded(*id);
    co_return co_await route.run(call);
  }
  co_await refuse_path(call, allow);
}

}  // namespace llorch
