// llorch-pool backends …
#include <boost/json.hpp>

#include "console/json_output.h"
#include "pool/backends.h"
#include "pool/commands.h"

namespace llorch {
namespace {

int list_backends_command(const PoolContext& context, const ListOptions& options) {
  const auto backends = detect_and_store_backends(context);
  if (options.json) {
    print_json(to_json(backends));
  } else {
    print_text(backends_text(backends, context.host.name));
  }
  return exit_ok;
}

}  // namespace

void add_backend_commands(CLI::App& app, PoolAction& chosen) {
  auto* const group = app.add_subcommand("backends", "What this host can compute on");
  group->require_subcommand(1);
  add_command<ListOptions>(
      *group, chosen, "list", "Detect CPU, Metal, CUDA and further backends",
      "  llorch-pool backends list\n  llorch-pool backends list --json\n",
      [](CLI::App& command, ListOptions& options) { add_json_flag(command, options.json); },
      list_backends_command);
}

}  // namespace llorch
