// The worker daemon: listens, loads one model, serves its jobs, registers, drains, stops.
// Threads: construct, run() and destroy on one thread; begin_drain() on the io_context's.
// Lifetime: run() returns when everything has ended; destroy only after that, or before listen().
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.h"
#include "engine/engine.h"
#include "net/asio.h"
#include "worker/options.h"

namespace llorch {

// Loads the model; called once, on a thread of its own. `progress` takes 0..1 from any thread.
using EngineLoader =
    std::function<Result<std::unique_ptr<Engine>>(const std::function<void(double)>& progress)>;

class Worker {
 public:
  // `options` are checked, with model_id, worker_id and pool_host filled in.
  Worker(asio::io_context& io, WorkerOptions options, EngineLoader loader);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Binds the port and begins to answer; the model is loaded by run().
  // Errors: conflict (the port is taken), forbidden, invalid_request (address, orchestrator URL).
  Result<std::uint16_t> listen();
  // Stops on SIGTERM and SIGINT as begin_drain() does; a second signal exits the process at once.
  void stop_on_signals();
  // Loads the model and runs the io_context until the worker has stopped. Errors: the loader's.
  Result<void> run();
  // The first phase of a stop: refuse new jobs, finish the running ones within drain_ms, end the
  // rest, deregister, stop. Idempotent.
  void begin_drain();

 private:
  class Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace llorch
