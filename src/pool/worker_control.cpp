#include "pool/worker_control.h"

#include <algorithm>
#include <fmt/format.h>
#include <signal.h>

#include "base/limits.h"
#include "base/random.h"
#include "console/progress.h"
#include "pool/backends.h"
#include "pool/catalog.h"
#include "pool/model_memory.h"
#include "pool/worker_stop.h"
#include "protocol/worker_api.h"
#include "sys/interrupt.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

constexpr std::uint16_t first_port = 8001;
constexpr std::uint16_t last_port = 8999;

Result<Backend> usable_backend(const PoolContext& context, const SpawnOptions& options) {
  const auto backends = detect_and_store_backends(context);
  const auto found = std::ranges::find(backends, options.backend, &Backend::name);
  if (found == backends.end()) {
    return fail(Code::invalid_request, "backend '" + options.backend + "': not known on this host",
                "llorch-pool backends list");
  }
  if (!found->available) {
    return fail(Code::backend_error, "backend '" + found->name + "': " + found->reason,
                "llorch-pool backends list");
  }
  const int gpu = options.gpu.value_or(0);
  const bool has_device = std::ranges::any_of(
      found->devices, [&](const Device& device) { return device.index == gpu; });
  if (options.gpu && !has_device) {
    return fail(Code::invalid_request,
                fmt::format("--gpu {}: backend '{}' has {} device(s), counted from 0", gpu,
                            found->name, found->devices.size()),
                "llorch-pool backends list --json");
  }
  return *found;
}

// What the worker will call its model: the key of its settings too.
std::string model_name(const ResolvedModel& model) {
  return model.id.empty() ? model.path.stem().string() : model.id;
}

// Refuses what cannot fit before a process is started.
Result<void> require_memory(const PoolContext& context, const SpawnOptions& options,
                            const Backend& backend, const ResolvedModel& model) {
  std::vector<std::string> extra_files;
  const auto catalog = read_catalog(context.files, context.root);
  if (!catalog) return fail(catalog.error());
  if (const auto* entry = catalog->find(model.id)) extra_files = entry->extra_files;
  const auto shape = read_model_shape(context.files, model.path, extra_files);
  if (!shape) return fail(shape.error());

  const auto own = context.settings.model(model_name(model));
  const auto slots = options.slots ? options.slots : own.slots;
  const auto estimate = estimate_memory(*shape, least_plan(slots, own.ctx_tokens, own.kv_type));
  if (!estimate) return fail(estimate.error());

  std::uint64_t free_bytes = context.host.memory_available_bytes;
  // With fewer layers on the GPU than there are, the rest lives in main memory.
  const bool on_device = backend.name != "cpu" && backend.name != "metal" && !own.gpu_layers;
  for (const auto& device : backend.devices) {
    if (on_device && device.index == options.gpu.value_or(0) && device.memory_bytes > 0) {
      free_bytes = device.memory_free_bytes > 0 ? device.memory_free_bytes : device.memory_bytes;
    }
  }
  const auto fit = require_fit(*estimate, free_bytes);
  if (fit) return fit;
  Error error = fit.error();
  error.message = "model '" + options.model + "': " + error.message;
  error.next = fmt::format(
      "use fewer --slots, a smaller ctx_tokens of [models.\"{}\"] in llorch.toml, or a smaller "
      "model",
      model_name(model));
  return fail(std::move(error));
}

Result<std::uint16_t> choose_port(const PoolContext& context, const SpawnOptions& options) {
  const auto list = list_workers(context);
  const auto holder = [&](std::uint16_t port) -> const WorkerRecord* {
    for (const auto& worker : list.workers) {
      if (worker.alive && worker.record.port == port) return &worker.record;
    }
    return nullptr;
  };
  if (options.port && *options.port != 0) {
    if (const auto* other = holder(*options.port)) {
      return fail(Code::conflict,
                  fmt::format("port {}: taken by {}", *options.port, other->worker_id),
                  "choose another --port, or none for the first free one");
    }
    const auto free = check_port(options.host, *options.port);
    if (free) return *options.port;
    if (free.error().code != Code::conflict) return fail(free.error());
    return fail(Code::conflict, fmt::format("port {}: taken by another program", *options.port),
                "choose another --port, or none for the first free one");
  }
  for (std::uint16_t port = first_port; port <= last_port; ++port) {
    if (holder(port) != nullptr) continue;
    const auto free = check_port(options.host, port);
    if (free) return port;
    // What is wrong with the host is wrong on every port.
    if (free.error().code != Code::conflict) return fail(free.error());
  }
  return fail(Code::conflict,
              fmt::format("ports {}..{}: all taken on {}", first_port, last_port, options.host),
              "llorch-pool worker list");
}

std::vector<std::string> command_of(const PoolContext& context, const SpawnOptions& options,
                                    const ResolvedModel& model, const WorkerRecord& record) {
  std::vector<std::string> argv = {(context.program_folder / "llorch-candled").string(),
                                   "--model",
                                   model.path.string(),
                                   "--worker-id",
                                   record.worker_id,
                                   "--backend",
                                   options.backend,
                                   "--host",
                                   options.host,
                                   "--port",
                                   std::to_string(record.port)};
  const auto add = [&](const char* flag, const std::string& value) {
    if (value.empty()) return;
    argv.emplace_back(flag);
    argv.push_back(value);
  };
  add("--model-id", model.id);
  add("--advertise", options.advertise);
  add("--orchestrator-url", options.orchestrator_url);
  if (options.gpu) add("--gpu", std::to_string(*options.gpu));
  if (options.slots) add("--slots", std::to_string(*options.slots));
  return argv;
}

// Starts the process and writes its file, all under the lock that keeps ports apart.
Result<WorkerRecord> start(const PoolContext& context, const SpawnOptions& options,
                           const ResolvedModel& model) {
  if (const auto made = context.files.make_directories(context.root.workers()); !made) {
    return fail(made.error());
  }
  const auto lock = context.files.lock(context.root.workers() / ".lock", limits::lock_wait_ms);
  if (!lock) return fail(lock.error());
  const auto port = choose_port(context, options);
  if (!port) return fail(port.error());

  WorkerRecord record;
  record.worker_id = "worker-" + options.backend + "-" + random_word(6);
  record.model = model_name(model);
  record.backend = options.backend;
  record.gpu = options.gpu;
  record.port = *port;
  record.host = options.host;
  record.spawned_at = rfc3339(context.clock.wall());
  record.status = "starting";
  record.log = (context.root.workers() / (record.worker_id + ".log")).string();
  auto environment = device_order(context);
  environment["LLORCH_ROOT"] = context.root.path.string();
  const auto pid =
      context.processes.spawn_detached({.argv = command_of(context, options, model, record),
                                        .environment = std::move(environment),
                                        .log = record.log});
  if (!pid) {
    Error error = pid.error();
    error.next = "build llorch-candled; it belongs into " + context.program_folder.string();
    return fail(std::move(error));
  }
  record.pid = *pid;
  const auto facts = context.processes.inspect(*pid).value_or(std::nullopt);
  if (facts) record.pid_start_time = facts->start_time;
  if (const auto written = write_worker_file(context, record); !written) {
    // Without its file nobody would ever stop it.
    (void)context.processes.signal(*pid, SIGKILL);
    return fail(written.error());
  }
  return record;
}

// What the worker itself said of its failure: its "error:" and "next:" lines.
Error failure_of(const PoolContext& context, const WorkerRecord& record) {
  Error error{.code = Code::model_load_failed,
              .message = record.worker_id + ": ended before it was ready",
              .next = "read " + record.log};
  const auto lines = last_lines(context.files, record.log, limits::log_tail_lines);
  for (const auto& line : lines) {
    context.say("  | " + line);
    if (line.starts_with("error: ")) error.message = record.worker_id + ": " + line.substr(7);
    if (line.starts_with("next: ")) error.next = line.substr(6);
  }
  return error;
}

Result<void> wait_until_ready(const PoolContext& context, const WorkerRecord& record) {
  const auto start_time = context.clock.now();
  Progress progress("loading " + record.model, context.messages, context.clock, context.draw);
  const WebRequest request{.url = worker_url(record) + "/ready",
                           .direct = true,
                           .connect_ms = limits::worker_answer_ms_max,
                           .total_ms = limits::worker_answer_ms_max};
  bool drawn = false;
  while (elapsed_ms(start_time, context.clock.now()) < limits::worker_ready_ms_max) {
    // Before the request: another program may answer on the port of a worker that failed.
    if (is_gone(context.processes, record)) {
      (void)context.files.remove(worker_file(context.root, record.worker_id));
      return fail(failure_of(context, record));
    }
    if (context.interrupted() != 0) return {};  // whoever called looks, and stops it
    const auto page = context.http.get(request, limits::worker_file_bytes_max);
    if (page && page->reply.status == 200) {
      if (drawn) progress.update(100, 100);
      return {};
    }
    const auto readiness = page ? decode_readiness(page->body) : fail(page.error());
    if (readiness && context.messages.interactive) {
      progress.update(static_cast<std::uint64_t>(readiness->progress * 100), 100);
      drawn = true;
    }
    context.wait(process_poll_ms);
  }
  return fail(Code::timeout, record.worker_id + ": not ready within 10 minutes",
              "llorch-pool worker logs " + record.worker_id + " -f");
}

// Nobody would look for a worker whose start was interrupted.
Error stop_interrupted(const PoolContext& context, const WorkerRecord& record) {
  const auto stopped = stop_worker(context, record);
  if (!stopped) return stopped.error();
  return {.code = Code::cancelled,
          .message = record.worker_id + ": interrupted before it was ready, and stopped",
          .next = "run the same command again"};
}

}  // namespace

std::string worker_url(const WorkerRecord& record) {
  std::string host = record.host;
  if (host.empty() || is_wildcard(host)) host = host.contains(':') ? "::1" : "127.0.0.1";
  if (host.contains(':')) host = "[" + host + "]";
  return fmt::format("http://{}:{}", host, record.port);
}

std::vector<std::string> last_lines(FileSystem& files, const fs::path& path, std::size_t lines) {
  const auto file = files.open(path);
  if (!file) return {};
  constexpr std::uint64_t tail_bytes = 64 * limits::kib;
  const std::uint64_t size = (*file)->size_bytes();
  std::string text(std::min(size, tail_bytes), '\0');
  const auto got = (*file)->read_at(size - text.size(), std::as_writable_bytes(std::span(text)));
  if (!got) return {};
  text.resize(*got);
  std::vector<std::string> all;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    all.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  if (all.size() > lines) all.erase(all.begin(), all.end() - static_cast<std::ptrdiff_t>(lines));
  return all;
}

Result<WorkerRecord> spawn_worker(const PoolContext& context, const SpawnOptions& options) {
  if (is_wildcard(options.host) && options.advertise.empty() && !options.orchestrator_url.empty()) {
    return fail(Code::invalid_request, "--host " + options.host + ": needs --advertise HOST",
                "add --advertise with the name others reach this machine by");
  }
  const auto model = resolve_model(context.files, context.root, context.settings, options.model);
  if (!model) return fail(model.error());
  const auto backend = usable_backend(context, options);
  if (!backend) return fail(backend.error());
  if (const auto room = require_memory(context, options, *backend, *model); !room) {
    return fail(room.error());
  }
  const InterruptGuard guard;
  auto record = start(context, options, *model);
  if (!record) return record;
  const auto ready = options.wait ? wait_until_ready(context, *record) : Result<void>{};
  if (context.interrupted() != 0) return fail(stop_interrupted(context, *record));
  if (!ready) return fail(ready.error());
  if (!options.wait) return record;
  record->status = "ready";
  if (const auto written = write_worker_file(context, *record); !written) {
    context.say("warning: " + written.error().message);
  }
  return record;
}

Result<WorkerRecord> find_worker(const PoolContext& context, const std::string& worker_id) {
  for (const auto& worker : list_workers(context).workers) {
    if (worker.record.worker_id == worker_id) return worker.record;
  }
  return fail(Code::not_found, "worker '" + worker_id + "': not on this host",
              "llorch-pool worker list");
}

}  // namespace llorch
