// Carries out `llorch jobs`, `workers`, `keys`, `explain`, `policy` and `top`.
// Threads: the io_context's one thread. Lifetime: outlives run(); interrupt() may come at any time.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>

#include "base/clock.h"
#include "base/result.h"
#include "net/asio.h"
#include "remote/fleet_options.h"
#include "remote/infer_job.h"

namespace llorch {

class FleetRun {
 public:
  // `command` is any but policy_test.
  FleetRun(asio::io_context& io, FleetCommand command, InferOutput output, const Clock& clock);
  ~FleetRun();
  FleetRun(const FleetRun&) = delete;
  FleetRun& operator=(const FleetRun&) = delete;

  // The exit code, everything else printed; 130 or 143 after interrupt(). Errors: those of
  // orchestratord, of the script's file, unreachable, timeout, cancelled (jobs events, of a job
  // that was).
  Task<Result<int>> run();
  // Leaves; a job goes on. Idempotent.
  void interrupt(int signal_number);

 private:
  class Parts;
  std::shared_ptr<Parts> parts_;
};

// All of a command, policy_test too. Errors are for report().
Result<int> run_fleet_command(const FleetCommand& command);

}  // namespace llorch
