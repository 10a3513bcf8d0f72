// A whole worker over the fake engine, on a thread of its own and a free port of loopback.
// Threads: the fixture's methods belong to the test's thread.
// Lifetime: the destructor drains the worker, with what still runs cancelled.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <future>
#include <string>
#include <string_view>
#include <thread>

#include "fakes/blocking_http.h"
#include "fakes/fake_engine.h"
#include "worker/worker.h"

namespace llorch {

class TestWorker {
 public:
  explicit TestWorker(FakeEngineOptions engine = {}, WorkerOptions options = default_options());
  // One whose model does not load before finish_loading().
  struct Loading {};
  TestWorker(Loading, WorkerOptions options = default_options());
  ~TestWorker();

  static WorkerOptions default_options();

  std::uint16_t port() const { return port_; }
  FakeEngine& engine() { return *engine_; }
  BlockingReply ask(std::string_view method, std::string_view path, std::string_view body = {},
                    const BlockingClient::Headers& headers = {}) {
    return llorch::ask(port_, method, path, body, headers);
  }
  void finish_loading(Result<FakeEngineOptions> engine = FakeEngineOptions{});
  void report_progress(double done);
  void begin_drain();   // as SIGTERM does
  Result<void> join();  // waits for run() to return

 private:
  void start(WorkerOptions options);
  Result<std::unique_ptr<Engine>> load(const std::function<void(double)>& progress);

  boost::asio::io_context io_;
  std::unique_ptr<Worker> worker_;
  std::uint16_t port_ = 0;
  std::promise<Result<FakeEngineOptions>> may_load_;
  std::promise<const std::function<void(double)>*> loading_;
  std::promise<FakeEngine*> made_;
  const std::function<void(double)>* progress_ = nullptr;
  FakeEngine* engine_ = nullptr;
  std::thread thread_;
  std::future<Result<void>> ended_;
};

}  // namespace llorch
