// The flags of `llorch jobs`, `workers`, `explain`, `policy` and `top`.
// Threads: one. CLI11 is heavy: include only from files that declare flags.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "console/command_line.h"
#include "remote/fleet_options.h"

namespace llorch {

struct FleetFlags {
  FleetCommand command;
  std::optional<std::string> orchestrator_url;
  std::string priority = "interactive";
  bool follow = false;  // of jobs submit
  bool given = false;   // one of these commands was named
};

// `flags` outlives `app`.
void declare_fleet(CLI::App& app, FleetFlags& flags);

// What parsing left to do: reads stdin for a prompt of "-", and checks.
// Errors: invalid_request, too_large, internal (stdin).
Result<void> finish_fleet(FleetFlags& flags);

}  // namespace llorch
