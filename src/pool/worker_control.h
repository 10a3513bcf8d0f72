// Starting worker processes of this host. Threads: one; two llorch-pool at once exclude each other
// where they choose a port.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pool/context.h"
#include "pool/worker_files.h"

namespace llorch {

struct SpawnOptions {
  std::string backend;
  std::string model;  // a catalog id or alias, or a GGUF file
  std::optional<std::int32_t> gpu;
  std::string host = "127.0.0.1";
  std::string advertise;              // needed with a wildcard host
  std::optional<std::uint16_t> port;  // absent: the first free one from 8001
  std::optional<std::int32_t> slots;
  std::string orchestrator_url;
  bool wait = true;  // until it is ready
};

// Errors: invalid_request (no such backend), model_not_found, backend_error (backend unavailable),
// insufficient_memory, conflict (port taken), model_load_failed (it ended before it was ready;
// its log's last lines were said), timeout, cancelled (interrupted: what was started is stopped).
Result<WorkerRecord> spawn_worker(const PoolContext& context, const SpawnOptions& options);

// Errors: not_found, with the command that lists them.
Result<WorkerRecord> find_worker(const PoolContext& context, const std::string& worker_id);

// The last lines of a file, at most `lines`.
std::vector<std::string> last_lines(FileSystem& files, const std::filesystem::path& path,
                                    std::size_t lines);
// "http://127.0.0.1:8001": where a worker of this host is reached from this host.
std::string worker_url(const WorkerRecord& record);

}  // namespace llorch
