#include "orchestrator/serve.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <utility>

#include "api/refusal.h"
#include "base/limits.h"
#include "base/log.h"
#include "console/json_output.h"
#include "console/report.h"
#include "net/event.h"
#include "net/file_limit.h"
#include "net/server.h"
#include "net/task_group.h"
#include "orchestrator/journal.h"
#include "orchestrator/routes.h"
#include "policy/policy_host.h"
#include "store/sqlite_store.h"
#include "sys/file_system.h"
#include "sys/process_runner.h"
#include "sys/short_turns.h"

namespace llorch {
namespace {

using std::chrono::milliseconds;

net::ServerOptions server_options(const OrchestratorOptions& options) {
  net::ServerOptions server;
  server.host = options.host;
  server.port = options.port;
  // Half of the files: each running stream has a second socket, to its worker.
  server.connections_max = net::connections_within(net::raise_file_limit() / 2);
  server.spared_path = "/health";
  if (!options.tls_key.empty()) {
    server.tls = net::TlsFiles{.certificate = options.tls_certificate, .key = options.tls_key};
  }
  server.refusal = refusal_response;
  return server;
}

LogLevel log_level(std::string_view name) {
  if (name == "debug") return LogLevel::debug;
  if (name == "warn") return LogLevel::warn;
  return name == "error" ? LogLevel::error : LogLevel::info;
}

class Daemon {
 public:
  Daemon(asio::io_context& io, const OrchestratorOptions& options, Store& store, EventLog& log)
      : options_(options),
        files_(make_file_system()),
        processes_(make_process_runner()),
        policy_(*files_, clock_,
                {.path = options.policy_path,
                 .limits = options.policy_limits,
                 .placement = options.placement}),
        journal_(io.get_executor(), clock_, store, log),
        service_(io, options, clock_, policy_),
        server_(io, server_options(options),
                [this](net::Exchange& exchange) { return serve_request(service_, exchange); }),
        tasks_(io.get_executor()),
        signals_(io),
        closed_(io.get_executor()),
        keep_running_(io.get_executor()) {}

  Result<std::uint16_t> listen(Restored restored) {
    policy_.start();
    service_.write_down_in(journal_);
    service_.govern_with(policy_);
    service_.clean_up_by(reach_by_ssh(*processes_));
    auto port = server_.listen();
    if (!port) return port;
    service_.take_up(std::move(restored));
    service_.join_external_servers();
    tasks_.spawn(service_.keep_time());
    return port;
  }

  void stop_on_signals() {
    signals_.add(SIGINT);
    signals_.add(SIGTERM);
    signals_.async_wait([this](const boost::system::error_code& aborted, int) {
      if (aborted) return;
      signals_.async_wait([](const boost::system::error_code& again, int number) {
        if (again) return;
        static_cast<void>(log_close_in_time());
        std::_Exit(128 + number);
      });
      service_.drain();
      log_event(LogLevel::info, "orchestrator", "draining",
                {{"jobs", static_cast<std::int64_t>(service_.core().jobs_live())}});
      tasks_.spawn(stop());
    });
  }

 private:
  Task<void> stop() {
    const auto begun = clock_.now();
    server_.drain(milliseconds(options_.drain_ms), [this] { closed_.ring(); });
    co_await closed_.wait();
    // Tasks that nobody reads just now are finished too.
    while (service_.core().jobs_at_workers() > 0 &&
           elapsed_ms(begun, clock_.now()) < static_cast<double>(options_.drain_ms)) {
      co_await net::sleep_for(milliseconds(limits::tick_ms));
    }
    service_.stop();
    signals_.cancel();
    keep_running_.reset();
  }

  const OrchestratorOptions& options_;
  SystemClock clock_;
  std::unique_ptr<FileSystem> files_;
  std::unique_ptr<ProcessRunner> processes_;
  PolicyHost policy_;
  Journal journal_;
  Orchestrator service_;
  net::HttpServer server_;
  net::TaskGroup tasks_;
  asio::signal_set signals_;
  net::Event closed_;
  asio::executor_work_guard<asio::io_context::executor_type> keep_running_;
};

Result<void> orchestrate(const OrchestratorOptions& options) {
  // First, and so the last to go: the store's threads post to it until they have ended.
  asio::io_context io{1};  // all network state lives on this thread, so it needs no locks
  const std::filesystem::path db = options.db_path;
  auto store = SqliteStore::open(db);
  if (!store) return fail(store.error());
  const auto log_files = make_log_files();
  auto log = EventLog::open(db.string() + ".events", *log_files);
  if (!log) return fail(log.error());
  const SystemClock clock;
  auto restored = restore(io.get_executor(), clock, **store, **log, options.job_timeout_ms);
  if (!restored) return fail(restored.error());
  Daemon daemon(io, options, **store, **log);
  const auto port = daemon.listen(std::move(*restored));
  if (!port) return fail(port.error());
  const bool v6 = options.host.find(':') != std::string::npos;
  const bool said = print_text(
      "orchestratord listening on http" + std::string(options.tls_key.empty() ? "" : "s") + "://" +
      (v6 ? "[" + options.host + "]" : options.host) + ":" + std::to_string(*port) + "\n");
  if (!said) log_event(LogLevel::warn, "orchestrator", "stdout_failed");
  daemon.stop_on_signals();
  ask_for_short_turns();
  io.run();
  return {};
}

}  // namespace

int orchestrate_until_stopped(const OrchestratorOptions& options) {
  log_open(log_level(options.log_level));
  const auto served = orchestrate(options);
  log_close();
  return served ? exit_ok : report(served.error());
}

}  // namespace llorch
