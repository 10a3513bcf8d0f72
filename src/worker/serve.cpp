#include "worker/serve.h"

#include <boost/asio/io_context.hpp>
#include <fmt/format.h>
#include <utility>

#include "base/log.h"
#include "console/json_output.h"
#include "console/report.h"

namespace llorch {
namespace {

LogLevel log_level(std::string_view name) {
  if (name == "debug") return LogLevel::debug;
  if (name == "warn") return LogLevel::warn;
  return name == "error" ? LogLevel::error : LogLevel::info;
}

Result<void> serve(const WorkerOptions& options, EngineLoader loader) {
  asio::io_context io{1};  // all network state lives on this thread, so it needs no locks
  Worker worker(io, options, std::move(loader));
  const auto port = worker.listen();
  if (!port) return fail(port.error());
  const bool v6 = options.host.find(':') != std::string::npos;
  const bool said = print_text(fmt::format("{} listening on http://{}{}{}:{}\n", options.worker_id,
                                           v6 ? "[" : "", options.host, v6 ? "]" : "", *port));
  // Who started it may have closed stdout, or its disk is full: that is no reason not to serve.
  if (!said) log_event(LogLevel::warn, "worker", "stdout_failed");
  worker.stop_on_signals();
  return worker.run();
}

}  // namespace

int serve_until_stopped(WorkerOptions options, EngineLoader loader) {
  log_open(log_level(options.log_level));
  const auto served = serve(options, std::move(loader));
  log_close();
  return served ? exit_ok : report(served.error());
}

}  // namespace llorch
