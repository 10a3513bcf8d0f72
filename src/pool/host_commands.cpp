// llorch-pool status, doctor and kv.
#include <algorithm>
#include <boost/json.hpp>
#include <fmt/format.h>

#include "base/version.h"
#include "console/json_output.h"
#include "console/report.h"
#include "console/table.h"
#include "console/terminal.h"
#include "pool/backends.h"
#include "pool/catalog.h"
#include "pool/commands.h"
#include "pool/doctor.h"
#include "pool/remove_tree.h"
#include "pool/worker_files.h"
#include "pool/worker_probe.h"

namespace llorch {
namespace {

namespace json = boost::json;

const char* name_of(Finding::State state) {
  switch (state) {
    case Finding::State::ok:
      return "ok";
    case Finding::State::warn:
      return "warn";
    case Finding::State::fail:
      return "fail";
  }
  return "";
}

int doctor_command(const PoolContext& context, const ListOptions& options) {
  const auto findings = examine(context);
  const bool failed = std::ranges::any_of(
      findings, [](const auto& finding) { return finding.state == Finding::State::fail; });
  if (options.json) {
    json::array checks;
    for (const auto& finding : findings) {
      checks.push_back({{"check", finding.check},
                        {"state", name_of(finding.state)},
                        {"detail", finding.detail},
                        {"fix", finding.fix}});
    }
    print_json({{"ok", !failed}, {"checks", std::move(checks)}});
  } else {
    std::string text;
    for (const auto& finding : findings) {
      text +=
          fmt::format("{:<5} {:<9} {}\n", name_of(finding.state), finding.check, finding.detail);
      if (!finding.fix.empty()) text += fmt::format("{:<16}fix: {}\n", "", finding.fix);
    }
    print_text(text);
  }
  return failed ? exit_failure : exit_ok;
}

int status_command(const PoolContext& context, const ListOptions& options) {
  const auto catalog = read_catalog(context.files, context.root);
  if (!catalog) return report(catalog.error());
  const auto list = list_workers(context);
  for (const auto& warning : list.unreadable) print_warning(warning);
  const auto backends = detect_and_store_backends(context);
  const auto free = context.files.free_bytes(context.root.path).value_or(0);
  std::vector<std::string> usable;
  for (const auto& backend : backends) {
    if (backend.available) usable.push_back(backend.name);
  }
  std::vector<std::string> downloaded;
  for (const auto& entry : catalog->models) {
    if (entry.downloaded) downloaded.push_back(entry.id);
  }
  json::array workers;
  std::string lines;
  for (const auto& worker : list.workers) {
    const auto& record = worker.record;
    const auto state = worker.alive ? probe_state(context, record) : std::string("orphaned");
    auto object = to_json(record);
    object["status"] = state;
    object["alive"] = worker.alive;
    workers.push_back(std::move(object));
    lines +=
        fmt::format("  {}  {}  port {}  {}\n", record.worker_id, record.model, record.port, state);
  }
  if (options.json) {
    print_json({{"host", context.host.name},
                {"version", version()},
                {"root", context.root.path.string()},
                {"backends", json::array(usable.begin(), usable.end())},
                {"models_downloaded", json::array(downloaded.begin(), downloaded.end())},
                {"disk_free_bytes", free},
                {"memory_available_bytes", context.host.memory_available_bytes},
                {"workers", std::move(workers)}});
    return exit_ok;
  }
  const auto joined = [](const std::vector<std::string>& words) {
    return words.empty() ? std::string("none") : fmt::format("{}", fmt::join(words, ", "));
  };
  print_text(fmt::format("Pool {} in {}\n", context.host.name, context.root.path.string()) +
             fmt::format("Backends  {}\nModels    {}\n", joined(usable), joined(downloaded)) +
             fmt::format("Memory    {} available\nDisk      {} free\n",
                         human_bytes(context.host.memory_available_bytes), human_bytes(free)) +
             fmt::format("Workers   {}\n{}", list.workers.size(), lines));
  return exit_ok;
}

struct PurgeOptions {
  std::string folder;
  bool json = false;
};

// The folder that was named; else what workers of this root use, by .runtime/kv or their setting.
Result<Removed> purge(const PoolContext& context, const std::string& named) {
  if (!named.empty()) {
    if (!context.files.exists(named)) {
      return fail(Code::not_found, "--kv-dir " + named + ": there is no such folder");
    }
    return remove_kv_files(context.files, named);
  }
  auto purged = remove_below(context.files, context.root.kv_cache());
  const auto set = context.settings.text("worker.kv_dir");
  if (!purged || !set) return purged;
  const auto more = remove_kv_files(context.files, *set);
  if (!more) return more;
  purged->files += more->files;
  purged->bytes += more->bytes;
  return purged;
}

int kv_purge_command(const PoolContext& context, const PurgeOptions& options) {
  const auto purged = purge(context, options.folder);
  if (!purged) return report(purged.error());
  if (options.json) {
    print_json({{"files", purged->files}, {"bytes", purged->bytes}});
  } else {
    print_text(
        fmt::format("Purged {} files, {} freed\n", purged->files, human_bytes(purged->bytes)));
  }
  return exit_ok;
}

void declare_purge(CLI::App& command, PurgeOptions& options) {
  command.add_option("--kv-dir", options.folder,
                     "A worker's --kv-dir (default: .runtime/kv and the setting worker.kv_dir)");
  add_json_flag(command, options.json);
}

void declare_list(CLI::App& command, ListOptions& options) {
  add_json_flag(command, options.json);
}

}  // namespace

void add_host_commands(CLI::App& app, PoolAction& chosen) {
  add_command<ListOptions>(app, chosen, "status", "Backends, models, workers and room at a glance",
                           "  llorch-pool status --json\n", declare_list, status_command);
  add_command<ListOptions>(app, chosen, "doctor", "Check what serving needs, with the fix of each",
                           "  llorch-pool doctor\n", declare_list, doctor_command);
  auto* const kv = app.add_subcommand("kv", "KV cache files of workers");
  kv->require_subcommand(1);
  add_command<PurgeOptions>(
      *kv, chosen, "purge", "Delete them all; stop the workers first, they hold what is in memory",
      "  llorch-pool kv purge\n  llorch-pool kv purge --kv-dir /var/cache/llorch/kv\n",
      declare_purge, kv_purge_command);
}

}  // namespace llorch
