// What is stored, as plain values: workers, jobs, decisions, keys.
// Times are milliseconds of the wall clock since 1970; nullopt: not yet.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"

namespace llorch {

struct StoredWorker {
  enum class Status { healthy, unhealthy, dead };  // spelled as on the wire
  WorkerId worker_id;
  std::string pool_host;
  std::string host;
  std::uint16_t port = 0;
  std::string model;
  std::string backend;
  Status status = Status::healthy;
  std::int64_t last_health_check_ms = 0;
  std::int64_t registered_at_ms = 0;
  std::string metadata_json = "{}";  // the rest of its registration
  bool operator==(const StoredWorker&) const = default;
};

struct StoredJob {
  enum class Status { queued, dispatched, running, completed, failed, cancelled };
  enum class Route { v2, chat, completions, embeddings };
  JobId job_id;
  Status status = Status::queued;
  Route route = Route::v2;
  std::string model;
  std::string tenant;
  std::string priority = "interactive";  // or batch
  std::string session_id;
  std::string body;         // the request's JSON while the job is open, empty once it has ended
  std::string body_sha256;  // stays
  std::int64_t accepted_at_ms = 0;
  std::optional<std::int64_t> deadline_at_ms;
  std::optional<std::int64_t> dispatched_at_ms;
  std::optional<std::int64_t> first_token_at_ms;
  std::optional<std::int64_t> ended_at_ms;
  std::string worker_id;  // the last one; empty: none yet
  std::string tokenizer_hash;
  std::uint32_t attempt = 0;
  std::int64_t prompt_tokens = 0;
  std::int64_t cached_tokens = 0;
  std::int64_t tokens_out = 0;
  std::string stop_reason;
  std::string error_code;  // "WORKER_LOST"; empty: none
  std::string error_message;
  std::string correlation_id;
  std::string idempotency_key;   // empty: none
  std::string idempotency_hash;  // of what the key was sent with
  std::string key_id;            // whose tokens a minute it counts for; empty: nobody's
  bool operator==(const StoredJob&) const = default;
};

// Why a job went where it went, for explain.
struct StoredDecision {
  JobId job_id;
  std::uint32_t attempt = 0;
  std::int64_t at_ms = 0;
  std::string json;
  bool operator==(const StoredDecision&) const = default;
};

struct StoredKey {
  enum class Role { admin, worker, client };
  std::string key_id;
  std::string name;
  std::string hash;  // SHA-256 of the secret, lower-case hexadecimal
  Role role = Role::client;
  std::string tenant;
  std::string models_json = "[]";
  std::int64_t tokens_per_minute = 0;  // 0: no bound
  std::string priority_max = "interactive";
  std::string priority_default = "interactive";
  std::int64_t created_at_ms = 0;
  std::optional<std::int64_t> expires_at_ms;
  std::optional<std::int64_t> revoked_at_ms;
  bool operator==(const StoredKey&) const = default;
};

// What the jobs of one tenant and model took together.
struct StoredUsage {
  std::string tenant, model;
  std::int64_t jobs = 0, failed = 0;
  std::int64_t prompt_tokens = 0, cached_tokens = 0, tokens_out = 0;
  bool operator==(const StoredUsage&) const = default;
};

// What jobs that ended at one time used of their key's tokens.
struct StoredCharge {
  std::string key_id;
  std::int64_t ended_at_ms = 0;
  std::int64_t tokens = 0;
  bool operator==(const StoredCharge&) const = default;
};

std::string_view wire_name(StoredWorker::Status status);
std::string_view wire_name(StoredJob::Status status);
std::string_view wire_name(StoredJob::Route route);
std::string_view wire_name(StoredKey::Role role);
// nullopt: no such name.
template <class Enum>
std::optional<Enum> from_wire_name(std::string_view name);

inline bool has_ended(StoredJob::Status status) {
  return status >= StoredJob::Status::completed;
}

}  // namespace llorch
