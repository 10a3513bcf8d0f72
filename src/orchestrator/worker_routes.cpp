// The routes of the registry: workers that come, beat, drain and leave.
#include <utility>

#include "base/limits.h"
#include "orchestrator/routes.h"
#include "orchestrator/texts.h"
#include "protocol/worker_api.h"

namespace llorch {

Task<void> register_route(Call& call) {
  auto registration = decode_registration(call.exchange.request().body);
  if (!registration) co_return co_await reply_error(call, registration.error());
  const auto& known = call.service.core().workers();
  if (known.size() >= limits::workers_max && !known.contains(registration->worker_id)) {
    const Error error{.code = Code::quota_exceeded, .message = "too many workers are registered"};
    co_return co_await reply_error(call, error);
  }
  const auto id = registration->worker_id;
  call.service.tell(WorkerRegistered{.registration = std::move(*registration)});
  auto body = worker_text(call.service, id);
  co_await reply_json(call, 200, std::move(body));
}

Task<void> heartbeat_route(Call& call) {
  if (!call.service.core().workers().contains(call.id)) {
    const Error error{.code = Code::not_found, .message = "no worker " + call.id + ": register"};
    co_return co_await reply_error(call, error);
  }
  auto beat = decode_heartbeat(call.exchange.request().body);
  if (!beat) co_return co_await reply_error(call, beat.error());
  call.service.tell(WorkerBeat{call.id, std::move(*beat)});
  // Every change is sent until it is taken, and all of them after a registration: no gap to close.
  auto body = encode_heartbeat_reply(false);
  co_await reply_json(call, 200, std::move(body));
}

Task<void> list_workers_route(Call& call) {
  auto body = workers_text(call.service);
  co_await reply_json(call, 200, std::move(body));
}

namespace {

Task<void> unknown_worker(Call& call) {
  const Error error{.code = Code::not_found, .message = "no worker " + call.id};
  co_await reply_error(call, error);
}

}  // namespace

Task<void> worker_route(Call& call) {
  if (!call.service.core().workers().contains(call.id)) co_return co_await unknown_worker(call);
  auto body = worker_text(call.service, call.id);
  co_await reply_json(call, 200, std::move(body));
}

Task<void> delete_worker_route(Call& call) {
  if (!call.service.core().workers().contains(call.id)) co_return co_await unknown_worker(call);
  call.service.tell(WorkerLeft{call.id});
  std::string body = "{\"status\":\"removed\"}";
  co_await reply_json(call, 200, std::move(body));
}

Task<void> drain_worker_route(Call& call) {
  if (!call.service.core().workers().contains(call.id)) co_return co_await unknown_worker(call);
  call.service.tell(WorkerDrains{call.id});
  auto body = worker_text(call.service, call.id);
  co_await reply_json(call, 200, std::move(body));
}

}  // namespace llorch
