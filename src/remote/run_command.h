// Carries out what is neither `llorch infer` nor a text. Threads: one.
#pragma once

#include "base/result.h"
#include "remote/arguments.h"

namespace llorch {

// Gives the exit code, everything else printed. Errors are for report().
Result<int> run_remote_command(const RemoteCommand& command);

}  // namespace llorch
