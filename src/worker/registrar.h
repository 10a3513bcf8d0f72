// Makes this worker known to an orchestrator and keeps it known: register, beat each second, begin
// again when forgotten, deregister at the end. A lost orchestrator is waited for without end.
// Threads: the io thread. Lifetime: until run() has returned.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "net/client.h"
#include "net/event.h"
#include "worker/service.h"

namespace llorch {

class Registrar {
 public:
  // `url` is the orchestrator's base address; `port` the one this worker listens on.
  Registrar(asio::io_context& io, Service& service, net::Url url, std::uint16_t port);

  // Registers and beats until stop(). The model is loaded by then.
  Task<void> run();
  void stop();
  // Call after stop(): waits for what run() still sends, then DELETE /v2/workers/{id} when
  // registered. Gives up after 2 s each.
  Task<void> deregister();

 private:
  enum class Outcome { taken, forgotten, refused, unreachable };

  Task<Outcome> register_once();
  Task<Outcome> beat();
  Task<Outcome> send(std::string method, std::string path, std::string body, std::string& reply);
  void note(Outcome outcome, std::string_view detail);
  std::string registration_body() const;

  Service& service_;
  net::Url url_;
  std::uint16_t port_;
  std::string instance_id_;
  net::HttpClient client_;
  net::Event stop_;
  net::Event returned_;  // run() has
  bool running_ = false;
  bool stopped_ = false;
  bool registered_ = false;
  std::optional<Outcome> last_;  // so that only changes are logged
};

}  // namespace llorch
