#include "orchestrator/options.h"

#include <optional>
#include <utility>
#include <vector>

#include "api/auth.h"
#include "base/limits.h"
#include "console/command_line.h"
#include "console/option_layers.h"
#include "orchestrator/name_options.h"

namespace llorch {
namespace {

constexpr const char* program = "orchestratord";
constexpr const char* examples =
    "  orchestratord\n"
    "  orchestratord --port 8080 --queue-capacity 500 --queue-policy drop-lru\n"
    "  orchestratord backup /backups/orchestrator.db\n"
    "  LLORCH_API_TOKEN=… LLORCH_WORKER_TOKEN=… orchestratord --host 0.0.0.0\n";

// The flags as given; an absent one leaves the word to the environment and the file.
struct Flags {
  std::optional<std::string> host, db, policy, queue_policy, placement, order, tls_cert, tls_key,
      allowed_hosts, cors_origins;
  std::optional<std::int64_t> port, queue_capacity, queue_timeout_ms, job_timeout_ms, stall_ms,
      disconnect_grace_ms, drain_ms;
};

void declare(CLI::App& app, Flags& flags) {
  app.add_option("--host", flags.host, "address to listen on (default 127.0.0.1)");
  app.add_option("--port", flags.port, "0 = any free one (default 8080)");
  app.add_option("--db", flags.db, "SQLite file (default <root>/.runtime/orchestrator.db)");
  app.add_option("--policy", flags.policy, "Rhai script (default <root>/orchestration.rhai)");
  app.add_option("--queue-capacity", flags.queue_capacity, "jobs that may wait; -1 = any (100)");
  app.add_option("--queue-policy", flags.queue_policy, "reject or drop-lru (default reject)");
  app.add_option("--placement", flags.placement, "cost, least-loaded or round-robin");
  app.add_option("--order", flags.order, "fair or fifo (default fair)");
  app.add_option("--queue-timeout-ms", flags.queue_timeout_ms, "longest wait (default 300000)");
  app.add_option("--job-timeout-ms", flags.job_timeout_ms, "of a task, from acceptance (300000)");
  app.add_option("--stall-ms", flags.stall_ms, "without progress, a job moves (default 60000)");
  app.add_option("--disconnect-grace-ms", flags.disconnect_grace_ms,
                 "a task ends so long after its last reader left (default 30000)");
  app.add_option("--drain-ms", flags.drain_ms, "time to finish streams at a stop (default 30000)");
  app.add_option("--tls-cert", flags.tls_cert, "PEM file; needs --tls-key");
  app.add_option("--tls-key", flags.tls_key, "PEM file; needs --tls-cert");
  app.add_option("--allowed-hosts", flags.allowed_hosts,
                 "further names of this machine, with commas, for requests without a key");
  app.add_option("--cors-origins", flags.cors_origins,
                 "whose web pages may call it: https://app.example,…; * = any, with keys");
}

void read_numbers(OptionLayers& layers, const Flags& flags, OrchestratorOptions& options) {
  constexpr std::int64_t any = std::int64_t{1} << 53;
  layers.integer(options.port, flags.port, "orchestrator.port", 0, 65'535);
  layers.integer(options.queue_capacity, flags.queue_capacity, "orchestrator.queue_capacity", -1,
                 limits::queue_jobs_max);
  layers.integer(options.queue_timeout_ms, flags.queue_timeout_ms, "orchestrator.queue_timeout_ms",
                 1, any);
  layers.integer(options.job_timeout_ms, flags.job_timeout_ms, "orchestrator.job_timeout_ms", 1,
                 limits::job_timeout_ms_max);
  layers.integer(options.stall_ms, flags.stall_ms, "orchestrator.stall_ms", 100, any);
  layers.integer(options.task_grace_ms, flags.disconnect_grace_ms,
                 "orchestrator.disconnect_grace_ms", 0, any);
  layers.integer(options.drain_ms, flags.drain_ms, "orchestrator.drain_ms", 0,
                 limits::drain_ms_max);
  layers.integer(options.worker_dead_ms, std::nullopt, "orchestrator.worker_dead_ms", 1'000, any);
  layers.integer(options.policy_limits.operations, std::nullopt, "orchestrator.policy_operations",
                 1, limits::policy_operations_max);
  layers.integer(options.policy_limits.time_ms, std::nullopt, "orchestrator.policy_time_ms", 1,
                 limits::policy_time_ms_max);
}

void check(const OrchestratorOptions& options, std::vector<Violation>& found) {
  constexpr std::size_t token_length_min = 16;
  if (options.queue_capacity == 0) {
    found.push_back({"--queue-capacity", "not 0",
                     "0 would refuse every job that cannot start at "
                     "once; give -1 for any number, or 1 and more",
                     "0"});
  }
  if (options.tls_certificate.empty() != options.tls_key.empty()) {
    found.push_back({"--tls-cert", "both or none", "and --tls-key go together", std::nullopt});
  }
  const bool token_set = !options.api_token.empty();
  if (token_set && options.api_token.size() < token_length_min) {
    found.push_back(
        {"LLORCH_API_TOKEN", "length", "must have at least 16 characters", std::nullopt});
  }
  if (!token_set && !is_loopback(options.host)) {
    found.push_back({"LLORCH_API_TOKEN", "required",
                     "must be set (16 characters or more) to listen beyond loopback",
                     options.host});
  }
}

}  // namespace

Result<OrchestratorCommand> parse_orchestrator_command(int argc, const char* const* argv,
                                                       const Settings& settings,
                                                       const std::filesystem::path& root) {
  CLI::App app;
  dress(app, program, "One endpoint for a fleet of workers: admits, queues, places, relays.",
        examples);
  Flags flags;
  declare(app, flags);
  std::string file;
  auto* const backup = app.add_subcommand("backup", "copy the database to FILE, also while in use");
  auto* const restore = app.add_subcommand("restore", "put the copy in FILE in its place");
  for (auto* const command : {backup, restore}) {
    command->add_option("FILE", file, "the copy")->required();
    command->fallthrough();  // --db may follow
  }
  if (const auto code = parse_command_line(app, argc, argv)) return ExitNow{*code};

  OrchestratorOptions options;
  options.db_path = root / ".runtime/orchestrator.db";
  options.policy_path = root / "orchestration.rhai";
  OptionLayers layers(settings);
  layers.text(options.host, flags.host, "orchestrator.host");
  layers.text(options.db_path, flags.db, "orchestrator.db");
  layers.text(options.policy_path, flags.policy, "orchestrator.policy");
  layers.text(options.tls_certificate, flags.tls_cert, "orchestrator.tls_cert");
  layers.text(options.tls_key, flags.tls_key, "orchestrator.tls_key");
  layers.text(options.api_token, std::nullopt, "api_token");
  layers.text(options.worker_token, std::nullopt, "worker.token");
  std::string hosts, origins;
  layers.text(hosts, flags.allowed_hosts, "orchestrator.allowed_hosts");
  layers.text(origins, flags.cors_origins, "orchestrator.cors_origins");
  layers.text(options.log_level, std::nullopt, "orchestrator.log_level");
  read_numbers(layers, flags, options);
  options.pools = settings.pools;
  options.drop_lru =
      layers.choice(flags.queue_policy, "orchestrator.queue_policy", {"reject", "drop-lru"}) == 1;
  options.order = layers.choice(flags.order, "orchestrator.order", {"fair", "fifo"}) == 1
                      ? QueueOrder::fifo
                      : QueueOrder::fair;
  options.placement = static_cast<PlacementMode>(layers.choice(
      flags.placement, "orchestrator.placement", {"cost", "least-loaded", "round-robin"}));
  auto violations = layers.take();
  check(options, violations);
  options.allowed_names = allowed_names(hosts, origins, !options.api_token.empty(), violations);
  if (!violations.empty()) return fail(wrong_values(program, std::move(violations)));
  if (backup->parsed() || restore->parsed()) {
    return CopyDatabase{std::move(options), std::move(file), restore->parsed()};
  }
  auto external = external_servers(settings.external);
  if (!external) return fail(external.error());
  options.external = std::move(*external);
  options.aliases = settings.aliases;
  return options;
}

}  // namespace llorch
