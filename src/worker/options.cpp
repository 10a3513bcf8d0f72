#include "worker/options.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <vector>

#include "api/auth.h"
#include "base/limits.h"
#include "console/command_line.h"
#include "console/option_layers.h"

namespace llorch {
namespace {

constexpr const char* examples =
    "  llorch-candled --model smollm2 --port 8080\n"
    "  llorch-candled --model ./model.gguf --backend cuda --gpu 0 --slots 8\n"
    "  llorch-candled --list-backends --json\n"
    "  llorch-candled --model smollm2 --calibrate\n"
    "  llorch-candled --model smollm2 --optimize q8_0 --out ./smollm2.Q8_0.gguf\n"
    "  llorch-candled --model smollm2 --perplexity ./prose.txt\n";

// The flags as given; an absent one leaves the word to the environment and the file.
struct Flags {
  std::string model, model_id, worker_id;
  std::string optimize, out, perplexity, trace;
  std::optional<std::string> host, advertise, pool_host, backend, orchestrator_url, slots, kv_dir;
  std::optional<std::int64_t> port, gpu, ctx_tokens, threads, itl_target_ms, kv_ram_mib,
      kv_disk_mib, draft_tokens, queue, drain_ms;
  bool list_backends = false;
  bool calibrate = false;
  bool json = false;
};

void declare(CLI::App& app, Flags& flags) {
  app.add_option("--model", flags.model, "a GGUF file, or a model's id in the catalog");
  app.add_option("--model-id", flags.model_id, "name in replies (default: catalog id or file)");
  app.add_option("--worker-id", flags.worker_id, "default: worker-BACKEND-RANDOM");
  app.add_option("--host", flags.host, "address to listen on (default 127.0.0.1)");
  app.add_option("--advertise", flags.advertise, "host to register, needed with 0.0.0.0 or ::");
  app.add_option("--port", flags.port, "0 = any free one (default 0)");
  app.add_option("--pool-host", flags.pool_host, "name of this machine (default: host name)");
  app.add_option("--backend", flags.backend, "cpu, metal, cuda or vulkan (default cpu)");
  app.add_option("--gpu", flags.gpu, "device index of the backend");
  app.add_option("--orchestrator-url", flags.orchestrator_url, "where to register");
  app.add_option("--slots", flags.slots, "jobs computed at once: auto or 1..256 (default auto)");
  app.add_option("--ctx-tokens", flags.ctx_tokens, "context of one slot (default: the model's)");
  app.add_option("--threads", flags.threads, "compute threads (default: one a core)");
  app.add_option("--itl-target-ms", flags.itl_target_ms, "longest wanted token gap (default 150)");
  app.add_option("--kv-ram-mib", flags.kv_ram_mib,
                 "memory for prompts computed before (default 2048, 0 = none)");
  app.add_option("--kv-dir", flags.kv_dir,
                 "folder to keep them in beyond a restart (default: none)");
  app.add_option("--kv-disk-mib", flags.kv_disk_mib,
                 "the most that folder may hold (default 2048, 0 = none)");
  app.add_option("--draft-tokens", flags.draft_tokens,
                 "tokens of an answer guessed and checked at once (default 15, 0 = none)");
  app.add_option("--queue", flags.queue, "jobs accepted beyond the slots (default 64)");
  app.add_option("--drain-ms", flags.drain_ms, "time to finish jobs at a stop (default 30000)");
  app.add_option("--trace", flags.trace, "a new file of what each step did, in Chrome's format");
  auto* const type =
      app.add_option("--optimize", flags.optimize, "write the weights as another type and exit");
  auto* const out = app.add_option("--out", flags.out, "with --optimize: the new GGUF file");
  auto* const text =
      app.add_option("--perplexity", flags.perplexity, "measure the model on a text file and exit");
  type->needs(out)->excludes(text);
  out->needs(type);
  app.add_flag("--list-backends", flags.list_backends, "print the devices of this build and exit");
  app.add_flag("--calibrate", flags.calibrate, "measure threads, batch and attention and exit")
      ->excludes(type)
      ->excludes(text);
  app.add_flag("--json", flags.json, "with --list-backends and --calibrate: as JSON");
}

void read_slots(OptionLayers& layers, WorkerOptions& options,
                const std::optional<std::string>& flag) {
  std::optional<std::int64_t> wanted;
  options.slots_auto = flag == "auto";
  if (options.slots_auto) return;
  if (flag) {
    const bool digits = !flag->empty() && flag->size() <= 3 &&
                        std::ranges::all_of(*flag, [](unsigned char c) { return isdigit(c); });
    if (!digits) return layers.refuse("--slots", "range", "must be auto or 1..256", *flag);
    wanted = std::stoll(*flag);
  }
  layers.integer(options.engine.slots, wanted, "worker.slots", 1, limits::slots_max);
}

WorkerCommand chosen(const Flags& flags, WorkerOptions options) {
  if (!flags.optimize.empty())
    return RequantizeModel{std::move(options), flags.optimize, flags.out};
  if (!flags.perplexity.empty()) return MeasurePerplexity{std::move(options), flags.perplexity};
  if (flags.calibrate) return CalibrateModel{std::move(options), flags.json};
  return options;
}

}  // namespace

Result<WorkerCommand> parse_worker_command(int argc, const char* const* argv,
                                           const Settings& settings) {
  CLI::App app;
  dress(app, "llorch-candled", "Worker daemon: serves one model, streams its tokens.", examples);
  Flags flags;
  declare(app, flags);
  if (const auto code = parse_command_line(app, argc, argv)) return ExitNow{*code};
  if (flags.list_backends) return ListBackends{flags.json};

  WorkerOptions options;
  OptionLayers layers(settings);
  options.model = flags.model;
  options.model_id = flags.model_id;
  options.worker_id = flags.worker_id;
  layers.text(options.host, flags.host, "worker.host");
  layers.text(options.advertise, flags.advertise, "worker.advertise");
  layers.text(options.pool_host, flags.pool_host, "worker.pool_host");
  layers.text(options.orchestrator_url, flags.orchestrator_url, "orchestrator_url");
  layers.text(options.worker_token, std::nullopt, "worker.token");
  layers.text(options.api_token, std::nullopt, "api_token");
  layers.text(options.log_level, std::nullopt, "worker.log_level");
  layers.text(options.engine.backend, flags.backend, "worker.backend");
  read_slots(layers, options, flags.slots);
  layers.integer(options.port, flags.port, "worker.port", 0, 65'535);
  layers.integer(options.engine.gpu, flags.gpu, "worker.gpu", 0, 255);
  layers.integer(options.engine.ctx_tokens, flags.ctx_tokens, "worker.ctx_tokens", 16, 1 << 24);
  layers.integer(options.engine.threads, flags.threads, "worker.threads", 1, 1024);
  layers.integer(options.engine.itl_target_ms, flags.itl_target_ms, "worker.itl_target_ms", 1,
                 60'000);
  layers.integer(options.engine.kv_ram_mib, flags.kv_ram_mib, "worker.kv_ram_mib", 0, 1 << 24);
  layers.text(options.engine.kv_dir, flags.kv_dir, "worker.kv_dir");
  layers.integer(options.engine.kv_disk_mib, flags.kv_disk_mib, "worker.kv_disk_mib", 0, 1 << 24);
  if (flags.kv_disk_mib.value_or(0) > 0 && options.engine.kv_dir.empty()) {
    layers.refuse("--kv-dir", "required", "is needed with --kv-disk-mib", "");
  }
  layers.integer(options.engine.draft_tokens, flags.draft_tokens, "worker.draft_tokens", 0,
                 limits::draft_tokens_max);
  options.engine.trace_path = flags.trace;
  layers.integer(options.queue, flags.queue, "worker.queue", 0, limits::queue_jobs_max);
  layers.integer(options.drain_ms, flags.drain_ms, "worker.drain_ms", 0, limits::drain_ms_max);
  auto violations = layers.take();
  if (const auto checked = check_worker_options(options); !checked) {
    const auto& more = checked.error().violations;
    violations.insert(violations.end(), more.begin(), more.end());
  }
  if (!violations.empty()) return fail(wrong_values("llorch-candled", std::move(violations)));
  return chosen(flags, std::move(options));
}

Result<void> check_worker_options(const WorkerOptions& options) {
  std::vector<Violation> found;
  const auto refuse = [&](const char* field, const char* constraint, const char* message,
                          std::optional<std::string> value = std::nullopt) {
    found.push_back({field, constraint, message, std::move(value)});
  };
  constexpr std::array backends = {"cpu", "metal", "cuda", "vulkan"};
  constexpr std::size_t token_length_min = 16;
  if (options.model.empty()) refuse("--model", "required", "is needed: a file or a catalog id");
  if (!options.worker_id.empty() && !is_worker_id(options.worker_id)) {
    refuse("--worker-id", "grammar", "must be 1..256 of A-Z a-z 0-9 _ -", options.worker_id);
  }
  if (std::ranges::find(backends, options.engine.backend) == backends.end()) {
    refuse("--backend", "one of", "must be cpu, metal, cuda or vulkan", options.engine.backend);
  }
  if (is_wildcard(options.host) && options.advertise.empty() && !options.orchestrator_url.empty()) {
    refuse("--advertise", "required", "is needed to register a worker that listens on a wildcard",
           options.host);
  }
  if (is_wildcard(options.advertise)) {
    refuse("--advertise", "grammar", "must be a host that others can reach", options.advertise);
  }
  const bool token_set = !options.worker_token.empty();
  if (token_set && options.worker_token.size() < token_length_min) {
    refuse("LLORCH_WORKER_TOKEN", "length", "must have at least 16 characters");
  }
  if (!token_set && !is_loopback(options.host)) {
    refuse("LLORCH_WORKER_TOKEN", "required",
           "must be set (16 characters or more) to listen beyond loopback", options.host);
  }
  constexpr std::array levels = {"debug", "info", "warn", "error"};
  if (std::ranges::find(levels, options.log_level) == levels.end()) {
    refuse("LLORCH_WORKER_LOG_LEVEL", "one of", "must be debug, info, warn or error",
           options.log_level);
  }
  if (found.empty()) return {};
  return fail(wrong_values("llorch-candled", std::move(found)));
}

bool is_worker_id(std::string_view text) {
  constexpr std::size_t length_max = 256;
  return !text.empty() && text.size() <= length_max && std::ranges::all_of(text, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
  });
}

}  // namespace llorch
