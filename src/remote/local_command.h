// Carries out `llorch up`, `down`, `ps` and `run`: this machine as one thing. Models and workers
// are llorch-pool's, which is run for them; orchestratord is started here. Threads: one.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "remote/local_options.h"
#include "remote/pool_command.h"

namespace llorch {

// One worker of `llorch-pool worker list --json`.
struct LocalWorker {
  std::string id, model, host, status, started_at;
  std::int64_t pid = 0;
  std::uint16_t port = 0;
  bool alive = false;
  // HOST:PORT for `llorch infer --worker`.
  std::string address() const;
};
// Errors: internal (no such document).
Result<std::vector<LocalWorker>> read_worker_list(std::string_view json);
// One that can be asked now. Null: none.
const LocalWorker* worker_of(const std::vector<LocalWorker>& workers, std::string_view model);
// The one in `after` that is not in `before`. Null: none.
const LocalWorker* newcomer(const std::vector<LocalWorker>& before,
                            const std::vector<LocalWorker>& after);

// The exit code, everything else printed. Errors are for report().
Result<int> run_local_command(const PoolDriver& driver, const LocalCommand& command);

}  // namespace llorch
