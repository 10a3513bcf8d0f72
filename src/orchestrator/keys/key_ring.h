// Every key of orchestratord in memory: who a request is from, and how keys come and go. What it
// gives out as rows is for the store; secrets are shown once and kept as SHA-256 only. That is
// enough for 256 random bits: there is no dictionary to try, so a slow hash would guard nothing
// and cost each request.
// Threads: the io thread. Times come in from outside.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "orchestrator/keys/identity.h"
#include "orchestrator/keys/token_bucket.h"
#include "protocol/key_request.h"
#include "store/rows.h"

namespace llorch {

class KeyRing {
 public:
  // `token`: LLORCH_API_TOKEN, an admin key that is in no store; empty: none.
  explicit KeyRing(std::string token) : token_(std::move(token)) {}
  // What the store holds, at a start.
  void load(std::vector<StoredKey> rows);

  // Whether requests need a key: from the first one on, for good, so that revoking the last one
  // opens nothing.
  bool is_on() const { return !token_.empty() || !keys_.empty(); }
  // Errors: unauthorized (none, unknown, revoked, expired).
  Result<Identity> identify(std::optional<std::string_view> authorization,
                            std::int64_t wall_ms) const;

  struct Fresh {
    StoredKey row;
    std::string secret;  // "llk_ID_HEX"
  };
  // A new key, which counts once put() has it. Errors: conflict (the first one is no admin's while
  // there is no token: nobody could make another; or there are limits::keys_max).
  Result<Fresh> make(const KeyRequest& request, std::int64_t wall_ms) const;
  void put(StoredKey row);
  // A new secret for an old key; it counts once renewed() has its row. Errors: not_found, conflict
  // (revoked).
  Result<Fresh> renew(const std::string& id) const;
  void renewed(const StoredKey& row);
  // Counts at once; again: the same row. Errors: not_found, conflict (the last admin key while
  // there is no token).
  Result<StoredKey> revoke(const std::string& id, std::int64_t wall_ms);
  // By id, revoked ones too.
  const std::map<std::string, std::shared_ptr<const Key>>& keys() const { return keys_; }
  bool is_usable(const std::string& id, std::int64_t wall_ms) const;

  // Errors: quota_exceeded, with when to come back.
  Result<void> check_quota(const Identity& identity, Millis now_ms) const;
  // Tokens that a job of this key has used; a negative number gives back.
  void charge(const std::string& id, std::int64_t tokens, Millis now_ms);

 private:
  Result<std::shared_ptr<const Key>> found(const std::string& id) const;
  bool has_other_admin(const std::string& id, std::int64_t wall_ms) const;

  std::string token_;
  std::map<std::string, std::shared_ptr<const Key>> keys_;
  std::unordered_map<std::string, TokenBucket> buckets_;  // from a key's first job on
};

}  // namespace llorch
