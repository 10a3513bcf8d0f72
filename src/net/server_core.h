// What the connections of one server share: options, counters, the date, the way down.
// Threads: the io_context's one thread. Lifetime: shared by the server and its connections.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "net/server.h"
#include "net/wheel_timer.h"

namespace llorch::net {

class HttpServer::Core : public std::enable_shared_from_this<HttpServer::Core> {
 public:
  Core(asio::io_context& io, ServerOptions options, Handler handler);

  Result<std::uint16_t> listen();
  void stop_accepting();
  void drain(std::chrono::milliseconds limit, std::function<void()> done);
  void terminate();

  const ServerOptions& options() const { return options_; }
  const Handler& handler() const { return handler_; }
  const std::shared_ptr<WheelTimer>& timer() const { return timer_; }
  asio::ssl::context* tls() { return tls_ ? &*tls_ : nullptr; }
  Executor executor() const { return acceptor_executor_; }
  bool draining() const { return draining_; }
  // The Date of now, made once a second.
  std::string_view date();
  // Says how long a silent connection is good for: clients guess less (undici: 4 s).
  std::string_view keep_alive_fields() const { return keep_alive_fields_; }
  // The reply to a request that no handler answers.
  HttpResponse refusal(unsigned status, std::string_view message, const HttpRequest& request) const;

  ServerCounters counters;

 private:
  Result<void> load_tls();
  void accept();
  void on_accepted(asio::ip::tcp::socket socket);
  void pause_accepting();
  void ended(Connection& connection);
  void finish_drain();

  ServerOptions options_;
  Handler handler_;
  std::string keep_alive_fields_;
  Executor acceptor_executor_;
  std::shared_ptr<WheelTimer> timer_;
  asio::ip::tcp::acceptor acceptor_;
  asio::steady_timer pause_;  // after an accept that failed
  asio::steady_timer drain_limit_;
  std::optional<asio::ssl::context> tls_;
  std::unordered_set<Connection*> connections_;
  bool draining_ = false;
  std::vector<std::function<void()>> drained_;  // called when the last connection has ended
  std::string date_;
  std::int64_t date_second_ = 0;
};

}  // namespace llorch::net
