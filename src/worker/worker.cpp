#include "worker/worker.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <thread>
#include <utility>

#include "api/refusal.h"
#include "base/limits.h"
#include "base/log.h"
#include "net/file_limit.h"
#include "net/server.h"
#include "net/task_group.h"
#include "sys/short_turns.h"
#include "worker/call.h"
#include "worker/registrar.h"
#include "worker/route_table.h"
#include "worker/routes.h"
#include "worker/service.h"

namespace llorch {
namespace {

using std::chrono::milliseconds;

net::ServerOptions server_options(const WorkerOptions& options) {
  net::ServerOptions server;
  server.host = options.host;
  server.port = options.port;
  server.connections_max = net::connections_within(net::raise_file_limit());
  server.spared_path = "/health";
  server.refusal = refusal_response;
  return server;
}

// Without tidying up: what is left cannot be waited for.
[[noreturn]] void exit_at_once(int code) {
  static_cast<void>(log_close_in_time());
  std::_Exit(code);
}

}  // namespace

class Worker::Parts {
 public:
  Parts(asio::io_context& io, WorkerOptions options, EngineLoader loader)
      : io_(io),
        options_(std::move(options)),
        loader_(std::move(loader)),
        service_(options_, clock_),
        server_(io, server_options(options_),
                [this](net::Exchange& exchange) { return serve_request(service_, exchange); }),
        tasks_(io.get_executor()),
        signals_(io),
        idle_(io.get_executor()),
        closed_(io.get_executor()),
        keep_running_(io.get_executor()) {
    service_.on_shutdown([this] { begin_drain(); });
    service_.jobs().on_empty([this] { idle_.ring(); });
  }

  Result<std::uint16_t> listen();
  void stop_on_signals();
  Result<void> run();
  void begin_drain();

 private:
  void load();
  void loaded(Result<std::unique_ptr<Engine>> engine);
  Task<void> drain();
  Task<void> wait_until_idle(milliseconds limit);
  void stop();

  asio::io_context& io_;
  const WorkerOptions options_;
  EngineLoader loader_;
  SystemClock clock_;
  Service service_;
  net::HttpServer server_;
  std::optional<Registrar> registrar_;
  net::TaskGroup tasks_;
  asio::signal_set signals_;
  net::Event idle_;    // no job is live
  net::Event closed_;  // the server has closed its connections
  asio::executor_work_guard<asio::io_context::executor_type> keep_running_;
  std::uint16_t port_ = 0;
  bool draining_ = false;
  std::optional<Error> failure_;
};

Result<std::uint16_t> Worker::Parts::listen() {
  std::optional<net::Url> orchestrator;
  if (!options_.orchestrator_url.empty()) {
    auto url = net::parse_url(options_.orchestrator_url);
    if (!url) return fail(url.error());
    orchestrator = std::move(*url);
  }
  const auto port = server_.listen();
  if (!port) return fail(port.error());
  port_ = *port;
  if (orchestrator) registrar_.emplace(io_, service_, std::move(*orchestrator), port_);
  log_event(LogLevel::info, "worker", "listening",
            {{"worker_id", options_.worker_id},
             {"host", options_.host},
             {"port", static_cast<std::int64_t>(port_)},
             {"model", options_.model_id}});
  return port_;
}

void Worker::Parts::stop_on_signals() {
  signals_.add(SIGINT);
  signals_.add(SIGTERM);
  signals_.async_wait([this](const boost::system::error_code& aborted, int signal_number) {
    if (aborted) return;
    log_event(LogLevel::info, "worker", "signal",
              {{"signal", static_cast<std::int64_t>(signal_number)}});
    signals_.async_wait([](const boost::system::error_code& again, int number) {
      if (!again) exit_at_once(128 + number);
    });
    begin_drain();
  });
}

Result<void> Worker::Parts::run() {
  std::thread loading([this] { load(); });
  ask_for_short_turns();
  io_.run();
  loading.join();
  if (failure_) return fail(std::move(*failure_));
  return {};
}

// On the loading thread.
void Worker::Parts::load() {
  auto engine =
      loader_([this](double done) { asio::post(io_, [this, done] { service_.loading(done); }); });
  const auto arrived = std::make_shared<Result<std::unique_ptr<Engine>>>(std::move(engine));
  asio::post(io_, [this, arrived] { loaded(std::move(*arrived)); });
}

void Worker::Parts::loaded(Result<std::unique_ptr<Engine>> engine) {
  if (!engine) {
    failure_ = std::move(engine.error());
    log_event(LogLevel::error, "worker", "load_failed",
              {{"worker_id", options_.worker_id}, {"code", wire_name(failure_->code)}});
    return stop();
  }
  const auto& card = (*engine)->card();
  log_event(LogLevel::info, "worker", "ready",
            {{"worker_id", options_.worker_id},
             {"model", options_.model_id},
             {"description", card.description},
             {"backend", card.backend},
             {"device", card.device},
             {"template_source", card.template_source},
             {"slots_total", static_cast<std::int64_t>(card.slots_total)},
             {"context_tokens", card.context_tokens},
             {"memory_bytes", card.memory_bytes}});
  service_.loaded(std::move(*engine));
  if (registrar_) tasks_.spawn(registrar_->run());
}

void Worker::Parts::begin_drain() {
  if (std::exchange(draining_, true)) return;
  if (service_.phase() == Service::Phase::loading) {
    // llama.cpp cannot be interrupted while it loads; there is no job and no registration to end.
    exit_at_once(exit_ok);
  }
  service_.drain();
  log_event(LogLevel::info, "worker", "draining",
            {{"worker_id", options_.worker_id},
             {"jobs", static_cast<std::int64_t>(service_.jobs().live())},
             {"drain_ms", options_.drain_ms}});
  tasks_.spawn(drain());
}

Task<void> Worker::Parts::drain() {
  co_await wait_until_idle(milliseconds(options_.drain_ms));
  service_.jobs().cancel_all(CancelReason::shutdown);
  co_await wait_until_idle(milliseconds(limits::cancel_wait_ms));
  if (registrar_) {
    registrar_->stop();
    co_await registrar_->deregister();
  }
  if (service_.busy()) {
    // What is left waits for readers that take nothing, or the engine hangs: the first is no fault.
    server_.terminate();
    co_await wait_until_idle(milliseconds(limits::close_wait_ms));
  }
  if (service_.busy()) {
    log_event(LogLevel::error, "worker", "jobs_stuck", {{"worker_id", options_.worker_id}});
    exit_at_once(exit_failure);
  }
  server_.drain(milliseconds(limits::close_wait_ms), [this] { closed_.ring(); });
  co_await closed_.wait();
  log_event(LogLevel::info, "worker", "stopped", {{"worker_id", options_.worker_id}});
  stop();
}

Task<void> Worker::Parts::wait_until_idle(milliseconds limit) {
  constexpr milliseconds look_again{50};  // requests without a slot do not ring
  const auto deadline = clock_.now() + limit;
  while (service_.busy() && clock_.now() < deadline) {
    const bool rung = co_await idle_.wait_for(look_again);
    static_cast<void>(rung);
  }
}

void Worker::Parts::stop() {
  server_.terminate();
  signals_.cancel();
  tasks_.cancel();  // a beat under way, at most
  keep_running_.reset();
}

Worker::Worker(asio::io_context& io, WorkerOptions options, EngineLoader loader)
    : parts_(std::make_unique<Parts>(io, std::move(options), std::move(loader))) {}
Worker::~Worker() = default;

Result<std::uint16_t> Worker::listen() {
  return parts_->listen();
}
void Worker::stop_on_signals() {
  parts_->stop_on_signals();
}
Result<void> Worker::run() {
  return parts_->run();
}
void Worker::begin_drain() {
  parts_->begin_drain();
}

}  // namespace llorch
