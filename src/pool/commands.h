// The command line of `llorch-pool`: flags in, exit code out. Threads: one.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>

#include "pool/context.h"

namespace llorch {

// What the parsed command line asks for; the callback of the chosen subcommand sets it.
using PoolAction = std::function<int(const PoolContext&)>;

// Each adds its group of subcommands; `chosen` outlives the parse.
void add_backend_commands(CLI::App& app, PoolAction& chosen);
void add_model_commands(CLI::App& app, PoolAction& chosen);
void add_optimize_command(CLI::App& group, PoolAction& chosen);  // models optimize
void add_worker_commands(CLI::App& app, PoolAction& chosen);
void add_host_commands(CLI::App& app, PoolAction& chosen);  // status, doctor, kv

// One subcommand: name, help, examples; `run` gets its options, filled by `declare`.
// The options live as long as the action.
template <class Options>
void add_command(CLI::App& parent, PoolAction& chosen, const std::string& name,
                 const std::string& help, const std::string& examples,
                 const std::function<void(CLI::App&, Options&)>& declare,
                 int (*run)(const PoolContext&, const Options&)) {
  auto* const command = parent.add_subcommand(name, help);
  if (!examples.empty()) command->footer("Examples:\n" + examples);
  auto options = std::make_shared<Options>();
  declare(*command, *options);
  command->callback([options, run, &chosen] {
    chosen = [options, run](const PoolContext& context) { return run(context, *options); };
  });
}

// Options of a command that only lists.
struct ListOptions {
  bool json = false;
};
void add_json_flag(CLI::App& command, bool& json);

// Parses, builds the context of this process and runs. Gives the exit code.
int run_pool(int argc, const char* const* argv);

}  // namespace llorch
