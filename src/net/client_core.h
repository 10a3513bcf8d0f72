// What the exchanges of one client share: idle connections and the way to new ones.
// Threads: the io_context's one thread. Lifetime: shared by the client and its open streams.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "net/client.h"
#include "net/framing.h"
#include "net/transport.h"

namespace llorch::net {

std::int64_t left_ms(SteadyTime end);  // 0 once it has passed

// One connection to one server.
struct ClientConnection {
  ClientConnection(tcp::socket socket, std::shared_ptr<WheelTimer> timer, std::string to)
      : transport(std::move(socket), std::move(timer)), server(std::move(to)) {}

  Transport transport;
  InBuffer in{limits::head_bytes_max + 1};
  std::string server;  // scheme and authority
  SteadyTime idle_since;
};

class HttpClient::Core {
 public:
  Core(asio::io_context& io, ClientOptions options);

  // The most recently used idle connection to that server that is still good, or null.
  std::unique_ptr<ClientConnection> take_idle(const std::string& server);
  void keep_idle(std::unique_ptr<ClientConnection> connection);
  void close_idle() { idle_.clear(); }

  // Errors: unreachable (name, refusal, TLS), timeout, invalid_request (the CA file).
  Task<Result<std::unique_ptr<ClientConnection>>> connect(Url url, std::int64_t limit_ms);

  const ClientOptions& options() const { return options_; }
  // Where bytes lie between a read that does not wait and their use: one for all streams.
  asio::mutable_buffer scratch();

 private:
  Result<asio::ssl::context*> tls();

  ClientOptions options_;
  Executor executor_;
  std::shared_ptr<WheelTimer> timer_;
  std::optional<asio::ssl::context> tls_;
  std::vector<std::unique_ptr<ClientConnection>> idle_;  // oldest first
  std::string scratch_;
};

}  // namespace llorch::net
