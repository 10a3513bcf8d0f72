// From checked options to an exit code: the life of a worker process. Shared by llorch-candled
// and the fake worker of the tests.
// Threads: blocks its caller, which is the io thread meanwhile.
#pragma once

#include "worker/options.h"
#include "worker/worker.h"

namespace llorch {

// Opens the log, listens (and says where on stdout), loads, serves until a signal, and reports a
// failure on stderr.
int serve_until_stopped(WorkerOptions options, EngineLoader loader);

}  // namespace llorch
