// The flags of `llorch keys`. Threads: one. CLI11 is heavy: include only from files that declare
// flags.
#pragma once

#include <optional>
#include <string_view>

#include "remote/fleet_arguments.h"

namespace llorch {

// `flags` outlives `app`.
void declare_keys(CLI::App& app, FleetFlags& flags);
// What parsing left to do. Errors: invalid_request.
Result<void> finish_keys(FleetFlags& flags);

// "30d", "12h", "90m", "45s" or seconds; nullopt: it is no such time, or past ten years.
std::optional<std::int64_t> seconds_of(std::string_view text);

}  // namespace llorch
