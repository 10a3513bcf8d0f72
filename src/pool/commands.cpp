#include "pool/commands.h"

#include <chrono>
#include <thread>

#include "console/command_line.h"
#include "console/json_output.h"
#include "console/progress.h"
#include "console/report.h"
#include "sys/interrupt.h"

namespace llorch {
namespace {

constexpr const char* examples =
    "  llorch-pool models download smollm2\n"
    "  llorch-pool worker spawn cpu --model smollm2\n"
    "  llorch-pool worker list\n"
    "  llorch-pool doctor\n";

}  // namespace

void add_json_flag(CLI::App& command, bool& json) {
  command.add_flag("--json", json, "Print one JSON document");
}

int run_pool(int argc, const char* const* argv) {
  CLI::App app;
  dress(app, "llorch-pool", "Backends, models and worker processes of this host.", examples);
  app.require_subcommand(1);
  PoolAction action;
  add_backend_commands(app, action);
  add_model_commands(app, action);
  add_worker_commands(app, action);
  add_host_commands(app, action);
  if (const auto code = parse_command_line(app, argc, argv)) return *code;

  const auto files = make_file_system();
  const auto processes = make_process_runner();
  const auto http = make_http();
  const SystemClock clock;
  const Root root = find_root(*files);
  const auto settings = load_settings(default_settings_sources(root.path));
  if (!settings) return report(settings.error());
  const PoolContext context{
      .files = *files,
      .processes = *processes,
      .http = *http,
      .clock = clock,
      .root = root,
      .settings = *settings,
      .host = read_host_facts(),
      .program_folder = program_folder(),
      .environment = environment_value,
      .wait = [](std::int64_t ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); },
      .interrupted = interrupt_number,
      .say = [](const std::string& line) { write_to_stderr()(line + "\n"); },
      .draw = write_to_stderr(),
      .messages = terminal_of(2)};
  const int code = exit_with_output(action(context));
  if (interrupt_number() == 0) return code;
  return interrupt_number() == SIGTERM ? exit_terminated : exit_interrupted;
}

}  // namespace llorch
