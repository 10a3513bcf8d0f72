// The routes of the registry: workers that come, beat, drain and leave.
#include <algorithm>
#include <cctype>
#include <utility>

#include "base/limits.h"
#include "orchestrator/routes.h"
#include "orchestrator/texts.h"
#include "protocol/worker_api.h"

namespace llorch {
namespace {

bool all_of_set(std::string_view text, std::string_view more) {
  return std::ranges::all_of(text, [&](unsigned char c) {
    return std::isalnum(c) != 0 || more.find(static_cast<char>(c)) != more.npos;
  });
}

// What a worker says of itself decides where we connect to.
Result<void> check_registration(const Registration& told) {
  constexpr std::size_t name_bytes_max = 256;
  const auto refuse = [](const char* field, const char* why) {
    return fail_field(
        {.field = field, .constraint = why, .message = std::string(field) + ": " + why});
  };
  const auto& id = told.worker_id;
  if (id.empty() || id.size() > name_bytes_max || !all_of_set(id, "_-")) {
    return refuse("worker_id", "must be 1..256 of A-Z a-z 0-9 _ -");
  }
  if (told.host.empty() || told.host.size() > name_bytes_max || !all_of_set(told.host, ".:-_%")) {
    return refuse("host", "must be a host name or an address");
  }
  if (told.slots_total < 1 || told.slots_total > limits::queue_jobs_max) {
    return refuse("slots_total", "must be 1..65536");
  }
  return {};
}

// Who comes to an address takes the place of the worker that was there: that is its owner's to do.
Result<void> check_address(const Call& call, const Registration& told) {
  for (const auto& [id, other] : call.service.core().workers()) {
    const auto& known = other.registration;
    const bool same = known.host == told.host && known.port == told.port && !other.external;
    if (!same || id == told.worker_id || other.status != WorkerStatus::healthy) continue;
    const auto allowed = call.service.worker_owners().may_claim(
        id, call.identity, call.service.keys(), unix_ms(call.service.clock().wall()));
    if (!allowed) return allowed;
  }
  return {};
}

// A worker that listens everywhere is reached where it called from.
std::string host_of_peer(const std::string& peer) {
  auto host = peer.substr(0, peer.rfind(':'));
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return host;
}

}  // namespace

Task<void> register_route(Call& call) {
  auto registration = decode_registration(call.exchange.request().body);
  if (!registration) co_return co_await reply_error(call, registration.error());
  if (const auto good = check_registration(*registration); !good) {
    co_return co_await reply_error(call, good.error());
  }
  if (is_wildcard(registration->host)) registration->host = host_of_peer(call.exchange.peer());
  const auto& known = call.service.core().workers();
  if (known.size() >= limits::workers_max && !known.contains(registration->worker_id)) {
    const Error error{.code = Code::quota_exceeded, .message = "too many workers are registered"};
    co_return co_await reply_error(call, error);
  }
  const auto id = registration->worker_id;
  if (const auto free = check_address(call, *registration); !free) {
    co_return co_await reply_error(call, free.error());
  }
  const auto claimed = call.service.worker_owners().claim(id, call.identity, call.service.keys(),
                                                          unix_ms(call.service.clock().wall()));
  if (!claimed) co_return co_await reply_error(call, claimed.error());
  call.service.forgot_cache_of(id);
  call.service.tell(WorkerRegistered{.registration = std::move(*registration)});
  auto body = worker_text(call.service, id);
  co_await reply_json(call, 200, std::move(body));
}

Task<void> heartbeat_route(Call& call) {
  const bool ours = call.service.external(call.id) == nullptr;
  if (!ours || !call.service.core().workers().contains(call.id)) {
    const Error error{.code = Code::not_found, .message = "no worker " + call.id + ": register"};
    co_return co_await reply_error(call, error);
  }
  const auto owned = call.service.worker_owners().check(call.id, call.identity);
  if (!owned) co_return co_await reply_error(call, owned.error());
  auto beat = decode_heartbeat(call.exchange.request().body);
  if (!beat) co_return co_await reply_error(call, beat.error());
  call.service.tell(WorkerBeat{call.id, std::move(*beat)});
  // Every change is sent until it is taken, and all of them after a registration.
  auto body = encode_heartbeat_reply(call.service.forgot_cache_of(call.id));
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
  const auto owned = call.service.worker_owners().check(call.id, call.identity);
  if (!owned) co_return co_await reply_error(call, owned.error());
  if (call.service.external(call.id) != nullptr) {
    const Error error{.code = Code::conflict,
                      .message = call.id + " is an [[external]] of llorch.toml",
                      .next = "remove it there and restart, or drain it"};
    co_return co_await reply_error(call, error);
  }
  call.service.tell(WorkerLeft{call.id});
  std::string body = "{\"status\":\"removed\"}";
  co_await reply_json(call, 200, std::move(body));
}

Task<void> drain_worker_route(Call& call) {
  if (!call.service.core().workers().contains(call.id)) co_return co_await unknown_worker(call);
  call.service.tell(WorkerDrains{call.id});
  if (auto* const journal = call.service.journal()) {
    const auto worker = call.service.core().workers().at(call.id);
    auto owner = call.service.worker_owners().owner(call.id);
    const auto kept = co_await journal->worker_kept(worker, std::move(owner));
    if (!kept) co_return co_await reply_error(call, kept.error());
    if (!call.service.core().workers().contains(call.id)) co_return co_await unknown_worker(call);
  }
  auto body = worker_text(call.service, call.id);
  co_await reply_json(call, 200, std::move(body));
}

}  // namespace llorch
