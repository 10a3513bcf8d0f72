// The flags of `llorch up`, `down`, `ps` and `run`. Threads: one.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "base/result.h"
#include "remote/local_options.h"

namespace llorch {

struct LocalFlags {
  LocalCommand command;
  std::optional<std::string> orchestrator_url;
  bool given = false;  // one of the commands was parsed
};

// `flags` outlives the parse.
void declare_local(CLI::App& app, LocalFlags& flags);
// What the flags alone do not settle; reads stdin for `run` without a prompt.
// Errors: invalid_request, too_large.
Result<void> finish_local(LocalFlags& flags);

}  // namespace llorch
