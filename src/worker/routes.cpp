#include "worker/routes.h"

#include "api/auth.h"
#include "api/refusal.h"
#include "base/log.h"
#include "worker/route_table.h"

namespace llorch {
namespace {

Task<void> refuse(Call& call, const RouteMatch& match) {
  const auto& request = call.exchange.request();
  if (match.allow.empty()) {
    auto message = "no route " + request.path.substr(0, 128);
    if (!match.near.empty()) message += "; did you mean " + match.near + "?";
    const Error error{.code = Code::not_found, .message = std::move(message)};
    co_return co_await reply_error(call, error);
  }
  constexpr unsigned method_not_allowed = 405;
  const Error error{.code = Code::invalid_request,
                    .message = request.path + " takes " + match.allow};
  net::Headers allow;
  allow.add("Allow", match.allow);
  co_await reply_error(call, error, method_not_allowed, allow);
}

Task<void> run_route(Call& call, RouteId route) {
  switch (route) {
    case RouteId::execute:
      return execute_route(call);
    case RouteId::cancel:
      return cancel_route(call);
    case RouteId::health:
      return health_route(call);
    case RouteId::ready:
      return ready_route(call);
    case RouteId::metrics:
      return metrics_route(call);
    case RouteId::shutdown:
      return shutdown_route(call);
    case RouteId::models:
      return models_route(call);
    case RouteId::model:
      return model_route(call);
    case RouteId::chat_completions:
      return generate_route(call, OpenAiRoute::chat_completions);
    case RouteId::completions:
      return generate_route(call, OpenAiRoute::completions);
    case RouteId::embeddings:
      return embeddings_route(call);
    case RouteId::tokenize:
      return tokenize_route(call);
    case RouteId::detokenize:
      return detokenize_route(call);
  }
  return health_route(call);  // not reached: the compiler checks the cases above
}

}  // namespace

Task<void> serve_request(Service& service, net::Exchange& exchange) {
  const auto& request = exchange.request();
  Call call{.service = service,
            .exchange = exchange,
            .correlation_id = correlation_id_of(request.headers.find("X-Correlation-Id")),
            .errors = is_openai_path(request.path) ? ErrorShape::openai : ErrorShape::ours};
  const auto match = find_route(request.method, request.path);
  const bool open = match.route && match.route->open;
  if (!open) {
    const Caller caller{request.headers.find("Authorization"), request.headers.find("Host"),
                        request.headers.find("Origin")};
    const auto allowed =
        authorise(caller, service.options().worker_token, service.options().pool_host);
    if (!allowed) co_return co_await reply_error(call, allowed.error());
  }
  if (!match.route) co_return co_await refuse(call, match);
  log_event(LogLevel::debug, "worker", "request",
            {{"method", request.method},
             {"path", match.route->path},
             {"correlation_id", call.correlation_id},
             {"body_bytes", static_cast<std::int64_t>(request.body.size())}});
  co_await run_route(call, match.route->id);
}

}  // namespace llorch
