#include "orchestrator/keys/key_ring.h"

#include <span>
#include <utility>

#include "api/auth.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/random.h"
#include "pool/sha256.h"
#include "protocol/json_parse.h"
#include "protocol/json_text.h"

namespace llorch {
namespace {

constexpr std::string_view prefix = "llk_";  // so that scanners of leaked secrets know one
constexpr int id_length = 12;
constexpr int secret_digits = 64;  // 256 bits

std::string hash_of(std::string_view secret) {
  Sha256 hash;
  hash.add(std::as_bytes(std::span(secret)));
  return hash.finish();
}

std::string fresh_secret(const std::string& id) {
  return std::string(prefix) + id + "_" + random_hex(secret_digits);
}

// The id inside a secret; empty: it is none of ours.
std::string id_in(std::string_view secret) {
  if (!secret.starts_with(prefix)) return {};
  secret.remove_prefix(prefix.size());
  return std::string(secret.substr(0, secret.find('_')));
}

std::string json_of(const std::vector<std::string>& models) {
  std::string out;
  append_json_list(out, models, [&](const std::string& model) { append_json_string(out, model); });
  return out;
}

std::shared_ptr<const Key> key_of(StoredKey row) {
  auto key = std::make_shared<Key>();
  const auto models = parse_json(row.models_json);
  if (models && models->is_array()) {
    for (const auto& model : models->get_array()) {
      if (model.is_string()) key->models.emplace_back(model.get_string());
    }
  }
  key->row = std::move(row);
  return key;
}

bool has_expired(const StoredKey& row, std::int64_t wall_ms) {
  return row.expires_at_ms && *row.expires_at_ms <= wall_ms;
}

}  // namespace

void KeyRing::load(std::vector<StoredKey> rows) {
  for (auto& row : rows) put(std::move(row));
}

Result<Identity> KeyRing::identify(std::optional<std::string_view> authorization,
                                   std::int64_t wall_ms) const {
  const auto secret = bearer_token(authorization);
  if (secret.empty()) {
    return fail(Code::unauthorized, "a key is wanted: Authorization: Bearer KEY");
  }
  if (same_secret(secret, token_)) return Identity{};
  const auto found = keys_.find(id_in(secret));
  if (found == keys_.end() || !same_secret(hash_of(secret), found->second->row.hash)) {
    return fail(Code::unauthorized, "no such key: it was mistyped, or replaced by a newer one");
  }
  const auto& row = found->second->row;
  Identity identity{found->second};
  if (row.revoked_at_ms) {
    return fail(Code::unauthorized,
                identity.name() + " was revoked at " + rfc3339(wall_time(*row.revoked_at_ms)));
  }
  const auto ends_at_ms = row.expires_at_ms.value_or(wall_ms + 1);
  if (ends_at_ms <= wall_ms) {
    return fail(Code::unauthorized,
                identity.name() + " expired at " + rfc3339(wall_time(ends_at_ms)));
  }
  return identity;
}

Result<KeyRing::Fresh> KeyRing::make(const KeyRequest& request, std::int64_t wall_ms) const {
  if (!is_on() && request.role != "admin") {
    return fail(Code::conflict,
                "the first key must be an admin's: with it keys are on, and nobody else could make "
                "another",
                "llorch keys add NAME --role admin");
  }
  if (keys_.size() >= limits::keys_max) {
    return fail(Code::conflict, "there are " + std::to_string(limits::keys_max) +
                                    " keys already, revoked ones too");
  }
  Fresh fresh;
  auto& row = fresh.row;
  do row.key_id = random_word(id_length);
  while (keys_.contains(row.key_id));
  row.name = request.name;
  row.role = from_wire_name<StoredKey::Role>(request.role).value_or(StoredKey::Role::client);
  row.tenant = request.tenant;
  row.models_json = json_of(request.models);
  row.tokens_per_minute = request.tokens_per_minute;
  row.priority_max = request.highest_priority;
  row.priority_default = request.default_priority;
  row.created_at_ms = wall_ms;
  if (request.expires_in_s) row.expires_at_ms = wall_ms + *request.expires_in_s * 1'000;
  fresh.secret = fresh_secret(row.key_id);
  row.hash = hash_of(fresh.secret);
  return fresh;
}

void KeyRing::put(StoredKey row) {
  auto id = row.key_id;
  keys_.insert_or_assign(std::move(id), key_of(std::move(row)));
}

Result<KeyRing::Fresh> KeyRing::renew(const std::string& id) const {
  const auto key = found(id);
  if (!key) return fail(key.error());
  if ((*key)->row.revoked_at_ms) {
    return fail(Code::conflict, "key " + id + " was revoked: add a new one",
                "llorch keys add NAME");
  }
  Fresh fresh{.row = (*key)->row, .secret = fresh_secret(id)};
  fresh.row.hash = hash_of(fresh.secret);
  return fresh;
}

// It may have been revoked while its row was on the way to the disk: that stays.
void KeyRing::renewed(const StoredKey& row) {
  const auto key = found(row.key_id);
  if (!key || (*key)->row.revoked_at_ms) return;
  put(row);
}

Result<StoredKey> KeyRing::revoke(const std::string& id, std::int64_t wall_ms) {
  const auto key = found(id);
  if (!key) return fail(key.error());
  auto row = (*key)->row;
  if (row.revoked_at_ms) return row;
  if (token_.empty() && row.role == StoredKey::Role::admin && !has_other_admin(id, wall_ms)) {
    return fail(Code::conflict, "key " + id + " is the last admin key: nobody could make another",
                "llorch keys add NAME --role admin, or start orchestratord with LLORCH_API_TOKEN");
  }
  row.revoked_at_ms = wall_ms;
  buckets_.erase(id);
  put(row);
  return row;
}

Result<std::shared_ptr<const Key>> KeyRing::found(const std::string& id) const {
  const auto entry = keys_.find(id);
  if (entry != keys_.end()) return entry->second;
  return fail(Code::not_found, "no key " + id, "llorch keys list");
}

bool KeyRing::is_usable(const std::string& id, std::int64_t wall_ms) const {
  const auto entry = keys_.find(id);
  if (entry == keys_.end()) return false;
  const auto& row = entry->second->row;
  return !row.revoked_at_ms && !has_expired(row, wall_ms);
}

bool KeyRing::has_other_admin(const std::string& id, std::int64_t wall_ms) const {
  for (const auto& [other, key] : keys_) {
    const bool admin = key->row.role == StoredKey::Role::admin;
    if (other != id && admin && is_usable(other, wall_ms)) return true;
  }
  return false;
}

Result<void> KeyRing::check_quota(const Identity& identity, Millis now_ms) const {
  const auto bucket = buckets_.find(identity.key_id());
  const auto wait_ms = bucket == buckets_.end() ? 0 : bucket->second.wait_ms(now_ms);
  if (wait_ms == 0) return {};
  return fail(Error{.code = Code::quota_exceeded,
                    .message = identity.name() + " has used its " +
                               std::to_string(identity.key->row.tokens_per_minute) +
                               " tokens a minute",
                    .retry_after_ms = wait_ms});
}

void KeyRing::charge(const std::string& id, std::int64_t tokens, Millis now_ms) {
  const auto key = keys_.find(id);
  if (key == keys_.end() || key->second->row.tokens_per_minute == 0) return;
  if (key->second->row.revoked_at_ms) return;
  const auto bucket = buckets_.try_emplace(id, key->second->row.tokens_per_minute, now_ms).first;
  bucket->second.take(tokens, now_ms);
}

}  // namespace llorch
