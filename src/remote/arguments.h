// The command line of `llorch`. Threads: one.
#pragma once

#include <string>
#include <variant>

#include "base/result.h"
#include "remote/fleet_options.h"
#include "remote/host_command.h"
#include "remote/infer_options.h"
#include "remote/local_options.h"
#include "remote/pool_arguments.h"

namespace llorch {

struct PrintText {
  std::string text;  // for stdout
};
using RemoteCommand = std::variant<InferOptions, PrintText, PoolCommand, InstallCommand,
                                   CopyCommand, HostCommand, FleetCommand, LocalCommand>;

// Parses flags, environment and settings, and reads stdin where the prompt is "-".
// An ExitCode in place of a command: everything is printed already (--help, a usage error).
// Errors: invalid_request, too_large (a prompt over 1 MiB), not_found (settings).
Result<std::variant<RemoteCommand, int>> parse_remote_command(int argc, const char* const* argv);

}  // namespace llorch
