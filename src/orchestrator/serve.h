// Runs the daemon from its options to its end.
// Threads: blocks the caller, whose thread is the io thread meanwhile.
#pragma once

#include "orchestrator/options.h"

namespace llorch {

// Returns the exit code; errors are printed.
int orchestrate_until_stopped(const OrchestratorOptions& options);

}  // namespace llorch
