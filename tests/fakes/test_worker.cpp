#include "fakes/test_worker.h"

#include <boost/asio/post.hpp>
#include <cassert>
#include <utility>

namespace llorch {

WorkerOptions TestWorker::default_options() {
  WorkerOptions options;
  options.model = "fake";
  options.model_id = "fake";
  options.worker_id = "worker-fake-000001";
  options.pool_host = "box";
  options.queue = 4;
  options.drain_ms = 20'000;
  return options;
}

TestWorker::TestWorker(Loading, WorkerOptions options) {
  start(std::move(options));
}

TestWorker::TestWorker(FakeEngineOptions engine, WorkerOptions options) {
  start(std::move(options));
  finish_loading(engine);
}

void TestWorker::start(WorkerOptions options) {
  worker_ = std::make_unique<Worker>(
      io_, std::move(options),
      [this](const std::function<void(double)>& progress) { return load(progress); });
  const auto port = worker_->listen();
  assert(port);
  port_ = *port;
  std::packaged_task<Result<void>()> run([this] { return worker_->run(); });
  ended_ = run.get_future();
  thread_ = std::thread(std::move(run));
  progress_ = loading_.get_future().get();
}

Result<std::unique_ptr<Engine>> TestWorker::load(const std::function<void(double)>& progress) {
  loading_.set_value(&progress);
  const auto options = may_load_.get_future().get();
  if (!options) {
    made_.set_value(nullptr);
    return fail(options.error());
  }
  auto engine = std::make_unique<FakeEngine>(*options);
  made_.set_value(engine.get());
  return engine;
}

void TestWorker::report_progress(double done) {
  (*progress_)(done);
}

void TestWorker::finish_loading(Result<FakeEngineOptions> engine) {
  may_load_.set_value(std::move(engine));
  engine_ = made_.get_future().get();
  while (engine_ && ask("GET", "/ready").status == 503) std::this_thread::yield();
}

void TestWorker::begin_drain() {
  boost::asio::post(io_, [this] { worker_->begin_drain(); });
}

Result<void> TestWorker::join() {
  auto result = ended_.get();
  thread_.join();
  return result;
}

TestWorker::~TestWorker() {
  if (!thread_.joinable()) return;
  assert(engine_);
  engine_->release();
  begin_drain();
  const auto ended = join();
  assert(ended);
}

}  // namespace llorch
