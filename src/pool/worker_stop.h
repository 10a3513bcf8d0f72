// Stopping worker processes of this host. Threads: one.
#pragma once

#include <cstdint>
#include <vector>

#include "pool/context.h"
#include "pool/worker_files.h"

namespace llorch {

inline constexpr std::int64_t process_poll_ms = 50;  // between two looks at a process

enum class StopOutcome { drained, killed, was_gone };

// SIGTERM to all, one time to drain for all together, then SIGKILL; the file of each that ended is
// deleted. One that is gone already is success. Says what it waits for.
// Shape: one outcome a record, in order. Errors: forbidden, timeout (it survived SIGKILL).
std::vector<Result<StopOutcome>> stop_workers(const PoolContext& context,
                                              const std::vector<WorkerRecord>& records);
Result<StopOutcome> stop_worker(const PoolContext& context, const WorkerRecord& record);

}  // namespace llorch
