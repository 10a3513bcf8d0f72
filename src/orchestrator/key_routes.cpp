// The routes of keys: add, list, revoke, rotate. A secret is in the reply that made it, and nowhere
// else.
#include <utility>

#include "base/log.h"
#include "orchestrator/routes.h"
#include "protocol/json_text.h"
#include "protocol/key_request.h"

namespace llorch {
namespace {

std::int64_t wall_now_ms(const Call& call) {
  return unix_ms(call.service.clock().wall());
}

std::string_view status_of(const StoredKey& row, std::int64_t now_ms) {
  if (row.revoked_at_ms) return "revoked";
  return row.expires_at_ms && *row.expires_at_ms <= now_ms ? "expired" : "active";
}

// `secret`: empty, but in the reply that made it.
void append_key(std::string& out, const StoredKey& row, std::int64_t now_ms,
                std::string_view secret = {}) {
  JsonObjectWriter object(out);
  object.string("key_id", row.key_id).string("name", row.name);
  if (!secret.empty()) object.string("key", secret);
  object.string("role", wire_name(row.role))
      .string("status", status_of(row, now_ms))
      .string("tenant", row.tenant)
      .raw("models", row.models_json)
      .integer("tokens_per_minute", row.tokens_per_minute)
      .string("highest_priority", row.priority_max)
      .string("default_priority", row.priority_default)
      .string("created_at", rfc3339(wall_time(row.created_at_ms)));
  if (row.expires_at_ms) object.string("expires_at", rfc3339(wall_time(*row.expires_at_ms)));
  if (row.revoked_at_ms) object.string("revoked_at", rfc3339(wall_time(*row.revoked_at_ms)));
  object.end();
}

Task<void> reply_key(Call& call, unsigned status, const StoredKey& row, std::string_view secret) {
  std::string body;
  append_key(body, row, wall_now_ms(call), secret);
  co_await reply_json(call, status, std::move(body));
}

void log_key(const Call& call, std::string_view event, const StoredKey& row) {
  log_event(LogLevel::info, "orchestrator", event,
            {{"key_id", row.key_id},
             {"name", row.name},
             {"role", wire_name(row.role)},
             {"by", call.identity.key_id()},
             {"correlation_id", call.correlation_id}});
}

Task<Result<void>> write_down(Call& call, const StoredKey& row) {
  if (call.service.journal() == nullptr) co_return Result<void>{};
  co_return co_await call.service.journal()->key_changed(row);
}

}  // namespace

Task<void> add_key_route(Call& call) {
  const auto request = decode_key_request(call.exchange.request().body);
  if (!request) co_return co_await reply_error(call, request.error());
  const auto fresh = call.service.keys().make(*request, wall_now_ms(call));
  if (!fresh) co_return co_await reply_error(call, fresh.error());
  const auto kept = co_await write_down(call, fresh->row);
  if (!kept) co_return co_await reply_error(call, kept.error());
  call.service.keys().put(fresh->row);
  log_key(call, "key_added", fresh->row);
  co_await reply_key(call, 201, fresh->row, fresh->secret);
}

Task<void> list_keys_route(Call& call) {
  std::string body;
  JsonObjectWriter list(body);
  append_json_list(list.key("keys"), call.service.keys().keys(), [&](const auto& entry) {
    append_key(body, entry.second->row, wall_now_ms(call));
  });
  list.end();
  co_await reply_json(call, 200, std::move(body));
}

Task<void> revoke_key_route(Call& call) {
  const auto row = call.service.keys().revoke(call.id, wall_now_ms(call));
  if (!row) co_return co_await reply_error(call, row.error());
  log_key(call, "key_revoked", *row);
  const auto kept = co_await write_down(call, *row);
  if (!kept) {
    auto error = kept.error();
    error.message =
        "the key is refused from now on, but that could not be written down, and a "
        "restart would forget it: " +
        error.message;
    co_return co_await reply_error(call, error);
  }
  co_await reply_key(call, 200, *row, {});
}

Task<void> rotate_key_route(Call& call) {
  const auto fresh = call.service.keys().renew(call.id);
  if (!fresh) co_return co_await reply_error(call, fresh.error());
  const auto kept = co_await write_down(call, fresh->row);
  if (!kept) co_return co_await reply_error(call, kept.error());
  call.service.keys().renewed(fresh->row);
  log_key(call, "key_rotated", fresh->row);
  co_await reply_key(call, 200, fresh->row, fresh->secret);
}

}  // namespace llorch
