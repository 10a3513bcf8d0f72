#include "pool/worker_files.h"

#include <algorithm>
#include <boost/json.hpp>

#include "base/limits.h"
#include "console/json_output.h"
#include "pool/text.h"
#include "protocol/json_parse.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::string_view worker_program = "llorch-candled";

bool is_worker_name(std::string_view id) {
  constexpr std::string_view known =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
  return !id.empty() && id.size() <= 256 && id.find_first_not_of(known) == id.npos;
}

std::optional<std::int64_t> integer_at(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  if (value == nullptr || !value->is_number()) return std::nullopt;
  boost::system::error_code failed;
  const auto number = value->to_number<std::int64_t>(failed);
  return failed ? std::nullopt : std::optional(number);
}

}  // namespace

fs::path worker_file(const Root& root, const std::string& worker_id) {
  return root.workers() / (worker_id + ".json");
}

json::object to_json(const WorkerRecord& record) {
  json::object object = {{"worker_id", record.worker_id}, {"pid", record.pid}};
  if (record.pid_start_time) object["pid_start_time"] = *record.pid_start_time;
  object["model"] = record.model;
  object["backend"] = record.backend;
  object["gpu"] = record.gpu ? json::value(*record.gpu) : json::value(nullptr);
  object["port"] = record.port;
  object["host"] = record.host;
  object["spawned_at"] = record.spawned_at;
  object["status"] = record.status;
  object["log"] = record.log;
  return object;
}

Result<void> write_worker_file(const PoolContext& context, const WorkerRecord& record) {
  return context.files.write_atomic(worker_file(context.root, record.worker_id),
                                    pretty_json(to_json(record)) + "\n");
}

Result<WorkerRecord> read_worker_file(FileSystem& files, const fs::path& path) {
  const auto text = files.read(path, limits::worker_file_bytes_max);
  if (!text) return fail(text.error());
  const auto object = parse_json_object(*text);
  if (!object) return fail(object.error());
  WorkerRecord record;
  record.worker_id = text_at(*object, "worker_id");
  if (!is_worker_name(record.worker_id)) return fail(Code::internal, "has no worker_id");
  const auto pid = integer_at(*object, "pid").value_or(0);
  if (pid <= 0 || pid > INT32_MAX) return fail(Code::internal, "has no pid");
  record.pid = static_cast<Pid>(pid);
  if (const auto start = integer_at(*object, "pid_start_time"); start && *start > 0) {
    record.pid_start_time = static_cast<std::uint64_t>(*start);
  }
  if (const auto gpu = integer_at(*object, "gpu")) record.gpu = static_cast<std::int32_t>(*gpu);
  const auto port = integer_at(*object, "port").value_or(0);
  if (port > 0 && port <= 65535) record.port = static_cast<std::uint16_t>(port);
  record.model = text_at(*object, "model");
  record.backend = text_at(*object, "backend");
  record.host = text_at(*object, "host");
  record.spawned_at = text_at(*object, "spawned_at");
  record.status = text_at(*object, "status");
  record.log = text_at(*object, "log");
  return record;
}

bool is_gone(ProcessRunner& processes, const WorkerRecord& record) {
  const auto facts = processes.inspect(record.pid);
  if (!facts) return false;
  if (!facts->has_value() || (*facts)->zombie) return true;
  if (record.pid_start_time) return (*facts)->start_time != *record.pid_start_time;
  return (*facts)->name != worker_program;
}

WorkerList list_workers(const PoolContext& context) {
  WorkerList list;
  const auto names = context.files.list(context.root.workers());
  if (!names) return list;  // no folder yet: no worker yet
  for (const auto& name : *names) {
    if (!name.ends_with(".json")) continue;
    const fs::path path = context.root.workers() / name;
    auto record = read_worker_file(context.files, path);
    if (!record) {
      list.unreadable.push_back(path.string() + ": " + record.error().message);
      continue;
    }
    const bool alive = !is_gone(context.processes, *record);
    list.workers.push_back({std::move(*record), alive});
  }
  return list;
}

Cleanup clean_up_workers(const PoolContext& context) {
  Cleanup cleanup;
  const auto names = context.files.list(context.root.workers());
  if (!names) return cleanup;
  for (const auto& name : *names) {
    if (!name.ends_with(".json")) continue;
    const fs::path path = context.root.workers() / name;
    const auto record = read_worker_file(context.files, path);
    if (!record) {
      cleanup.warnings.push_back(path.string() + ": left as it is: " + record.error().message);
    } else if (is_gone(context.processes, *record)) {
      if (const auto removed = context.files.remove(path); removed) {
        cleanup.orphans.push_back(record->worker_id);
      } else {
        cleanup.warnings.push_back(removed.error().message);
      }
    }
  }
  return cleanup;
}

}  // namespace llorch
