// What `llorch jobs`, `workers`, `keys`, `explain`, `policy` and `top` were asked for, checked
// once. Pure values. Threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "protocol/key_request.h"
#include "remote/infer_options.h"

namespace llorch {

struct FleetCommand {
  enum class Kind {
    jobs_submit,
    jobs_list,
    jobs_show,
    jobs_events,
    jobs_cancel,
    workers_list,
    workers_drain,
    keys_add,
    keys_list,
    keys_revoke,
    keys_rotate,
    explain,
    policy_show,
    policy_validate,
    policy_deploy,
    policy_rollback,
    policy_replay,
    policy_test,  // asks no orchestratord
    top,
    usage,
  };
  Kind kind = Kind::jobs_list;
  std::string orchestrator_url = "http://127.0.0.1:8080";
  std::string api_token;  // LLORCH_API_TOKEN, or api_token of llorch.toml
  InferOptions task;      // of jobs_submit
  KeyRequest key;         // of keys_add
  std::string id;         // of a job, a worker or a key
  std::string file;       // of a script
  std::string status;     // jobs_list: only these; empty: all
  std::string model;      // jobs_list: only these; empty: all
  std::uint64_t limit = 20;
  std::string since = "24h";  // usage; policy_replay: only decisions made since
  std::optional<std::uint64_t>
      replay_most;                     // policy_replay: the newest so many; empty: as it likes
  std::optional<std::uint64_t> after;  // jobs_events: the last number that is not wanted any more
  bool json = false;
  bool once = false;  // top: one screen, then the end
};

}  // namespace llorch
