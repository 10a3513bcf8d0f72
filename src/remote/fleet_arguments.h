// The flags of `llorch jobs`, `workers`, `keys`, `explain`, `policy` and `top`.
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
  std::string expires;  // of keys add: "30d"
  bool follow = false;  // of jobs submit
  bool given = false;   // one of these commands was named
};

// One command of a group: what all of them have. `flags` outlives `group`.
CLI::App* leaf(CLI::App& group, FleetFlags& flags, FleetCommand::Kind kind, const std::string& name,
               const std::string& description, const std::string& examples);

// `flags` outlives `app`.
void declare_fleet(CLI::App& app, FleetFlags& flags);

// What parsing left to do: reads stdin for a prompt of "-", and checks.
// Errors: invalid_request, too_large, internal (stdin).
Result<void> finish_fleet(FleetFlags& flags);

}  // namespace llorch
