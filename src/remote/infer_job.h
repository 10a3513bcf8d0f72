// Runs one job for `llorch infer`: sends it, passes its text on, cancels it when asked to.
// Threads: the io_context's one thread. Lifetime: outlives run(); interrupt() may come at any time.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "net/asio.h"
#include "remote/infer_options.h"

namespace llorch {

// The streams of a command line; tests give their own.
struct InferOutput {
  std::function<bool(std::string_view)> out;   // false: nobody reads any more
  std::function<void(std::string_view)> note;  // stderr
  bool out_is_terminal = false;
  bool note_is_terminal = false;
};
InferOutput standard_output();

class InferJob {
 public:
  InferJob(asio::io_context& io, InferOptions options, InferOutput output, const Clock& clock);
  ~InferJob();
  InferJob(const InferJob&) = delete;
  InferJob& operator=(const InferJob&) = delete;

  // The job from its submission to its statistics. The value is the exit code: 0, or 130 or 143
  // after interrupt(). Errors: those of the worker or orchestratord, unreachable (also when the
  // stream breaks: what came has been printed), timeout, cancelled (by someone else).
  Task<Result<ExitCode>> run();
  // Cancels the job where it runs, waits a bounded time for its end, then leaves. Idempotent.
  void interrupt(int signal_number);

 private:
  class Parts;
  std::shared_ptr<Parts> parts_;
};

// All of the command: runs the job, forwards signals, reports errors. Returns the exit code.
int infer(const InferOptions& options);

}  // namespace llorch
