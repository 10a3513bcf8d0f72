// The worker processes of this host as files: `.runtime/workers/<worker_id>.json`, and whether the
// process of each still lives. Threads: one.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "pool/context.h"

namespace llorch {

// {"worker_id":"worker-cpu-a1b2c3","pid":4711,"pid_start_time":123456,"model":"smollm2",
//  "backend":"cpu","gpu":null,"port":8001,"host":"127.0.0.1","spawned_at":…,"status":"ready",
//  "log":"/…/worker-cpu-a1b2c3.log"}
struct WorkerRecord {
  std::string worker_id;
  Pid pid = 0;
  std::optional<std::uint64_t> pid_start_time;  // see ProcessFacts; absent in files of others
  std::string model;
  std::string backend;
  std::optional<std::int32_t> gpu;
  std::uint16_t port = 0;
  std::string host;
  std::string spawned_at;
  std::string status;  // starting, ready
  std::string log;
};

boost::json::object to_json(const WorkerRecord& record);

std::filesystem::path worker_file(const Root& root, const std::string& worker_id);
Result<void> write_worker_file(const PoolContext& context, const WorkerRecord& record);
// Errors: internal for a file that is no worker's.
Result<WorkerRecord> read_worker_file(FileSystem& files, const std::filesystem::path& path);

// No such pid, a zombie, or another process: its start time differs; where the file has none, its
// name is not llorch-candled. What the system hides counts as alive.
bool is_gone(ProcessRunner& processes, const WorkerRecord& record);

struct ListedWorker {
  WorkerRecord record;
  bool alive = false;
};
struct WorkerList {
  std::vector<ListedWorker> workers;    // by id
  std::vector<std::string> unreadable;  // "FILE: WHY"
};
WorkerList list_workers(const PoolContext& context);

// Deletes the files of processes that are gone; logs and live workers stay.
struct Cleanup {
  std::vector<std::string> orphans;   // ids whose file was deleted
  std::vector<std::string> warnings;  // files left as they are, with the reason
};
Cleanup clean_up_workers(const PoolContext& context);

}  // namespace llorch
