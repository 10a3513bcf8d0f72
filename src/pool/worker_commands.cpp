// llorch-pool worker …
#include <boost/json.hpp>
#include <fmt/format.h>

#include "base/limits.h"
#include "console/json_output.h"
#include "console/report.h"
#include "console/table.h"
#include "pool/commands.h"
#include "pool/worker_control.h"
#include "pool/worker_probe.h"
#include "pool/worker_stop.h"

namespace llorch {
namespace {

namespace json = boost::json;

int spawn_command(const PoolContext& context, const SpawnOptions& options) {
  const auto record = spawn_worker(context, options);
  if (!record) return report(record.error());
  print_text(fmt::format("{} {} at {}\n", record->worker_id,
                         options.wait ? "is ready" : "is starting", worker_url(*record)));
  if (options.wait) {
    std::string host = worker_url(*record).substr(7);
    if (host.starts_with("127.0.0.1")) host.replace(0, 9, "localhost");
    print_next("llorch infer --worker " + host + " --prompt \"Hello\" --max-tokens 20");
  } else {
    print_next("llorch-pool worker list");
  }
  return exit_ok;
}

// "ready", "busy", "loading", "unreachable", … or "orphaned" for a process that is gone.
std::string live_status(const PoolContext& context, const ListedWorker& worker) {
  return worker.alive ? probe_state(context, worker.record) : "orphaned";
}

int list_command(const PoolContext& context, const ListOptions& options) {
  const auto list = list_workers(context);
  for (const auto& warning : list.unreadable) print_warning(warning);
  if (options.json) {
    json::array workers;
    for (const auto& worker : list.workers) {
      json::object object = to_json(worker.record);
      object["status"] = live_status(context, worker);
      object["alive"] = worker.alive;
      workers.push_back(std::move(object));
    }
    print_json({{"root", context.root.path.string()}, {"workers", std::move(workers)}});
    return exit_ok;
  }
  Table table({{"ID", false, true},
               {"MODEL", false, true},
               {"BACKEND"},
               {"PORT", true},
               {"PID", true},
               {"STATUS"}});
  bool orphans = false;
  for (const auto& worker : list.workers) {
    const auto& record = worker.record;
    orphans = orphans || !worker.alive;
    table.add({record.worker_id, record.model, record.backend, std::to_string(record.port),
               std::to_string(record.pid), live_status(context, worker)});
  }
  print_text("Workers in " + context.root.path.string() + "\n" +
             (list.workers.empty() ? "none\n" : table.render()));
  if (orphans) print_next("llorch-pool worker cleanup");
  return exit_ok;
}

struct LogsOptions {
  std::string worker_id;
  bool follow = false;
};

int logs_command(const PoolContext& context, const LogsOptions& options) {
  const auto shown = show_log(context, options.worker_id, options.follow,
                              [](std::string_view bytes) { return print_text(bytes); });
  return shown ? exit_ok : report(shown.error());
}

struct TestOptions {
  std::string worker_id;
  std::string prompt = "Say hello in one short sentence.";
  bool json = false;
};

int test_command(const PoolContext& context, const TestOptions& options) {
  const auto record = find_worker(context, options.worker_id);
  if (!record) return report(record.error());
  const auto print = [&](std::string_view text) { return options.json || print_text(text); };
  const auto trial = try_worker(context, *record, options.prompt, print);
  if (!trial) return report(trial.error());
  if (options.json) {
    print_json({{"worker_id", record->worker_id},
                {"text", trial->text},
                {"tokens_out", trial->tokens_out},
                {"stop_reason", trial->stop_reason},
                {"ttft_ms", trial->ttft_ms},
                {"tokens_per_second", trial->tokens_per_second}});
    return exit_ok;
  }
  print_text("\n");
  context.say(fmt::format("{}: ok, {} tokens, first after {:.0f} ms, {:.1f} tokens/s",
                          record->worker_id, trial->tokens_out, trial->ttft_ms,
                          trial->tokens_per_second));
  return exit_ok;
}

struct StopOptions {
  std::string worker_id;
};

const char* words_of(StopOutcome outcome) {
  switch (outcome) {
    case StopOutcome::drained:
      return "stopped";
    case StopOutcome::killed:
      return "killed: it did not drain in time";
    case StopOutcome::was_gone:
      return "was gone already";
  }
  return "";
}

int stop_command(const PoolContext& context, const StopOptions& options) {
  const auto record = find_worker(context, options.worker_id);
  if (!record) return report(record.error());
  const auto stopped = stop_worker(context, *record);
  if (!stopped) return report(stopped.error());
  print_text(record->worker_id + " " + words_of(*stopped) + "\n");
  return exit_ok;
}

struct NoOptions {};

int stop_all_command(const PoolContext& context, const NoOptions&) {
  const auto list = list_workers(context);
  for (const auto& warning : list.unreadable) print_warning(warning);
  std::vector<WorkerRecord> records;
  for (const auto& worker : list.workers) records.push_back(worker.record);
  const auto outcomes = stop_workers(context, records);
  std::size_t failures = 0;
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    if (outcomes[i]) {
      print_text(records[i].worker_id + " " + words_of(*outcomes[i]) + "\n");
    } else {
      report(outcomes[i].error());
      ++failures;
    }
  }
  print_text(fmt::format("Stopped {} workers\n", list.workers.size() - failures));
  if (failures == 0) return exit_ok;
  return failures == list.workers.size() ? exit_failure : exit_partly_done;
}

int cleanup_command(const PoolContext& context, const NoOptions&) {
  const auto cleanup = clean_up_workers(context);
  for (const auto& warning : cleanup.warnings) print_warning(warning);
  for (const auto& id : cleanup.orphans) print_text("Found orphaned worker: " + id + "\n");
  print_text(fmt::format("Cleaned up {} orphaned workers\n", cleanup.orphans.size()));
  return exit_ok;
}

void declare_spawn(CLI::App& command, SpawnOptions& options) {
  command.add_option("backend", options.backend, "cpu, metal, cuda, …")->required();
  command.add_option("--model", options.model, "Model id, or a GGUF file")->required();
  command.add_option("--gpu", options.gpu, "Device of the backend, from 0")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--host", options.host, "Address to listen on")->capture_default_str();
  command.add_option("--advertise", options.advertise, "Name others reach it by");
  command.add_option("--port", options.port, "Port (default: first free one from 8001)");
  command.add_option("--slots", options.slots, "Requests at a time (default: chosen at load)")
      ->check(CLI::Range(1, static_cast<int>(limits::slots_max)));
  command.add_option("--orchestrator-url", options.orchestrator_url, "Register there");
  command.add_flag("!--no-wait", options.wait, "Return before the model is loaded");
}

void declare_no_options(CLI::App&, NoOptions&) {}

}  // namespace

void add_worker_commands(CLI::App& app, PoolAction& chosen) {
  auto* const group = app.add_subcommand("worker", "Worker processes of this host");
  group->require_subcommand(1);
  add_command<SpawnOptions>(*group, chosen, "spawn", "Start a worker and wait until it is ready",
                            "  llorch-pool worker spawn cpu --model smollm2 --port 8080\n"
                            "  llorch-pool worker spawn cuda --gpu 0 --model qwen\n",
                            declare_spawn, spawn_command);
  add_command<ListOptions>(
      *group, chosen, "list", "List workers, orphans too", "  llorch-pool worker list --json\n",
      [](CLI::App& command, ListOptions& options) { add_json_flag(command, options.json); },
      list_command);
  add_command<LogsOptions>(
      *group, chosen, "logs", "Print a worker's log",
      "  llorch-pool worker logs worker-cpu-a1b2c3 -f\n",
      [](CLI::App& command, LogsOptions& options) {
        command.add_option("id", options.worker_id, "Worker id")->required();
        command.add_flag("-f,--follow", options.follow, "Go on until the worker ends");
      },
      logs_command);
  add_command<TestOptions>(
      *group, chosen, "test", "Let a worker answer a prompt",
      "  llorch-pool worker test worker-cpu-a1b2c3 --prompt \"Why is the sky blue?\"\n",
      [](CLI::App& command, TestOptions& options) {
        command.add_option("id", options.worker_id, "Worker id")->required();
        command.add_option("--prompt", options.prompt, "What to ask")->capture_default_str();
        add_json_flag(command, options.json);
      },
      test_command);
  add_command<StopOptions>(
      *group, chosen, "stop", "Drain and stop a worker",
      "  llorch-pool worker stop worker-cpu-a1b2c3\n",
      [](CLI::App& command, StopOptions& options) {
        command.add_option("id", options.worker_id, "Worker id")->required();
      },
      stop_command);
  add_command<NoOptions>(*group, chosen, "stop-all", "Drain and stop every worker",
                         "  llorch-pool worker stop-all\n", declare_no_options, stop_all_command);
  add_command<NoOptions>(*group, chosen, "cleanup", "Delete the files of workers that are gone",
                         "  llorch-pool worker cleanup\n", declare_no_options, cleanup_command);
}

}  // namespace llorch
