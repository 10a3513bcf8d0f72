// The flags of orchestratord: parsed, merged with environment and llorch.toml, and checked once.
// Threads: one, at start.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "api/auth.h"
#include "base/limits.h"
#include "base/result.h"
#include "base/settings.h"
#include "console/option_layers.h"
#include "orchestrator/core/job_queue.h"
#include "orchestrator/external_server.h"
#include "policy/built_in.h"
#include "policy/rhai_script.h"

namespace llorch {

struct OrchestratorOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8080;          // 0: any free one
  std::string db_path;                // empty: <root>/.runtime/orchestrator.db
  std::string policy_path;            // empty: <root>/orchestration.rhai
  std::int64_t queue_capacity = 100;  // -1: unbounded
  bool drop_lru = false;              // --queue-policy drop-lru
  PlacementMode placement = PlacementMode::cost;
  QueueOrder order = QueueOrder::fair;
  std::int64_t queue_timeout_ms = 300'000;
  std::int64_t job_timeout_ms = 300'000;  // of tasks, from acceptance
  std::int64_t stall_ms = 60'000;
  std::int64_t task_grace_ms = 30'000;  // after the last reader of a task's events has left
  std::int64_t drain_ms = 30'000;
  std::string tls_certificate, tls_key;  // PEM files; both or none
  std::string api_token;                 // LLORCH_API_TOKEN: an admin key; empty: none
  AllowedNames allowed_names;            // --allowed-hosts, --cors-origins
  std::string worker_token;              // LLORCH_WORKER_TOKEN: sent to workers; empty: none
  std::vector<ExternalServer> external;  // [[external]]
  std::map<std::string, std::string, std::less<>> aliases;  // [aliases]
  std::string log_level = "info";
  std::uint64_t seed = 1;                                // of the jitter of retries
  std::int64_t worker_dead_ms = limits::worker_dead_ms;  // unhealthy for so long
  ScriptLimits policy_limits;
  std::map<std::string, PoolSettings, std::less<>> pools;  // [pools.NAME]
};

// orchestratord backup|restore FILE
struct CopyDatabase {
  OrchestratorOptions orchestrator;
  std::string file;
  bool restore = false;
};
using OrchestratorCommand = std::variant<OrchestratorOptions, CopyDatabase, ExitNow>;

// Flag over environment over file over default. `root`: of the files that no flag names.
// Errors: invalid_request with every violation.
Result<OrchestratorCommand> parse_orchestrator_command(int argc, const char* const* argv,
                                                       const Settings& settings,
                                                       const std::filesystem::path& root);

}  // namespace llorch
