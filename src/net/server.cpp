#include "net/server.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <exception>
#include <fmt/format.h>
#include <utility>
#include <vector>

#include "base/log.h"
#include "net/connection.h"
#include "net/head_writer.h"
#include "net/server_core.h"

namespace llorch::net {
namespace {

Code code_of(unsigned status) {
  switch (status) {
    case 413:
      return Code::too_large;
    case 500:
      return Code::internal;
    case 503:
      return Code::no_worker;
    default:
      return Code::invalid_request;
  }
}

// The bytes of the message are ours and need no escaping.
HttpResponse plain_refusal(const RefusedRequest& refused) {
  HttpResponse response;
  response.headers.add("Content-Type", "application/json");
  if (refused.retry_after_ms) {
    response.headers.add("Retry-After", std::to_string(*refused.retry_after_ms / 1000));
  }
  response.body = fmt::format(R"({{"error":{{"code":"{}","message":"{}","retriable":{}}}}})",
                              wire_name(refused.code), refused.message, is_retriable(refused.code));
  return response;
}

Result<tcp::endpoint> endpoint_of(Executor executor, const ServerOptions& options) {
  error_code error;
  const auto address = asio::ip::make_address(options.host, error);
  if (!error) return tcp::endpoint(address, options.port);
  tcp::resolver resolver(std::move(executor));
  const auto found = resolver.resolve(options.host, "", tcp::resolver::passive, error);
  if (error || found.empty()) {
    return fail(Code::invalid_request, fmt::format("no address for host '{}'", options.host),
                "give --host an address of this machine, such as 127.0.0.1");
  }
  return tcp::endpoint(found.begin()->endpoint().address(), options.port);
}

std::unexpected<Error> bind_failure(const ServerOptions& options, const error_code& error) {
  if (error == asio::error::address_in_use) {
    return fail(Code::conflict, fmt::format("port {}: taken by another program", options.port),
                fmt::format("stop what uses it (ss -ltnp 'sport = :{}'), or take another --port",
                            options.port));
  }
  if (error == asio::error::access_denied) {
    return fail(Code::forbidden, fmt::format("port {} is not for this user", options.port),
                "take a --port of 1024 or more");
  }
  return fail(
      Code::invalid_request,
      fmt::format("cannot listen on {} port {}: {}", options.host, options.port, error.message()),
      "give --host an address of this machine, such as 127.0.0.1");
}

std::string announced(std::int64_t keep_alive_ms) {
  std::string fields;
  append_field(fields, "Connection", "keep-alive");
  const std::int64_t seconds = (keep_alive_ms - limits::keep_alive_spare_ms) / 1000;
  if (seconds > 0) append_field(fields, "Keep-Alive", fmt::format("timeout={}", seconds));
  return fields;
}

}  // namespace

HttpServer::Core::Core(asio::io_context& io, ServerOptions options, Handler handler)
    : options_(std::move(options)),
      handler_(std::move(handler)),
      keep_alive_fields_(announced(options_.keep_alive_ms)),
      acceptor_executor_(io.get_executor()),
      timer_(std::make_shared<WheelTimer>(io.get_executor())),
      acceptor_(io),
      pause_(io),
      drain_limit_(io) {}

Result<void> HttpServer::Core::load_tls() {
  if (!options_.tls) return {};
  error_code error;
  asio::ssl::context context(asio::ssl::context::tls_server);
  context.set_options(asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1, error);
  context.use_certificate_chain_file(options_.tls->certificate, error);
  if (error) {
    return fail(Code::invalid_request,
                fmt::format("certificate {}: {}", options_.tls->certificate, error.message()),
                "give a readable PEM file, the server's own certificate first");
  }
  context.use_private_key_file(options_.tls->key, asio::ssl::context::pem, error);
  if (error) {
    return fail(Code::invalid_request,
                fmt::format("key {}: {}", options_.tls->key, error.message()),
                "give the readable PEM key of that certificate, without a password");
  }
  tls_.emplace(std::move(context));
  return {};
}

Result<std::uint16_t> HttpServer::Core::listen() {
  if (const auto loaded = load_tls(); !loaded) return fail(loaded.error());
  const auto endpoint = endpoint_of(acceptor_executor_, options_);
  if (!endpoint) return fail(endpoint.error());
  error_code error;
  acceptor_.open(endpoint->protocol(), error);
  if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(*endpoint, error);
  if (!error) acceptor_.listen(tcp::acceptor::max_listen_connections, error);
  if (error) {
    stop_accepting();
    return bind_failure(options_, error);
  }
  const std::uint16_t port = acceptor_.local_endpoint(error).port();
  accept();
  return port;
}

void HttpServer::Core::accept() {
  acceptor_.async_accept([self = shared_from_this()](error_code error, tcp::socket socket) {
    if (!self->acceptor_.is_open()) return;
    if (error == asio::error::connection_aborted) return self->accept();
    if (error) return self->pause_accepting();
    self->on_accepted(std::move(socket));
    self->accept();
  });
}

// Out of files, mostly: the backlog keeps what arrives until some have closed.
void HttpServer::Core::pause_accepting() {
  ++counters.accept_errors;
  pause_.expires_after(std::chrono::milliseconds(limits::accept_pause_ms));
  pause_.async_wait([self = shared_from_this()](error_code stopped) {
    if (!stopped && self->acceptor_.is_open()) self->accept();
  });
}

void HttpServer::Core::on_accepted(tcp::socket socket) {
  const bool over = connections_.size() >= options_.connections_max;
  if (over) {
    ++counters.connections_refused;
    // Past these, and with TLS, where being told costs a handshake, they are closed unheard.
    const std::size_t heard_max = options_.connections_max + limits::turned_away_max;
    if (tls_ || connections_.size() >= heard_max) return;
  } else {
    ++counters.connections_accepted;
  }
  const auto connection = std::make_shared<Connection>(shared_from_this(), std::move(socket));
  connections_.insert(connection.get());
  counters.connections_open = connections_.size();
  const auto end = [self = shared_from_this(), connection](const std::exception_ptr& failure) {
    if (failure) log_event(LogLevel::error, "net", "session_failed");
    connection->cut();  // closed already, unless it failed
    self->ended(*connection);
  };
  asio::co_spawn(acceptor_executor_, over ? connection->turn_away() : connection->serve(), end);
}

void HttpServer::Core::ended(Connection& connection) {
  connections_.erase(&connection);
  counters.connections_open = connections_.size();
  if (connections_.empty()) finish_drain();
}

void HttpServer::Core::finish_drain() {
  drain_limit_.cancel();
  for (auto& done : std::exchange(drained_, {})) {
    if (done) asio::post(acceptor_executor_, std::move(done));
  }
}

void HttpServer::Core::stop_accepting() {
  error_code ignored;
  acceptor_.close(ignored);
  pause_.cancel();
}

void HttpServer::Core::drain(std::chrono::milliseconds limit, std::function<void()> done) {
  stop_accepting();
  draining_ = true;
  const bool under_way = !drained_.empty();
  drained_.push_back(std::move(done));
  for (Connection* connection : connections_) {
    if (connection->idle()) connection->close_idle();
  }
  if (connections_.empty()) return finish_drain();
  const auto end = std::chrono::steady_clock::now() + limit;
  if (under_way && drain_limit_.expiry() <= end) return;
  drain_limit_.expires_at(end);
  drain_limit_.async_wait([self = shared_from_this()](error_code stopped) {
    if (!stopped) self->terminate();
  });
}

void HttpServer::Core::terminate() {
  stop_accepting();
  draining_ = true;
  for (Connection* connection : connections_) connection->cut();
}

std::string_view HttpServer::Core::date() {
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  const std::int64_t second = now.time_since_epoch().count();
  if (std::exchange(date_second_, second) != second) date_ = http_date(now);
  return date_;
}

HttpResponse HttpServer::Core::refusal(unsigned status, std::string_view message,
                                       const HttpRequest& request) const {
  RefusedRequest refused{code_of(status), message, request, std::nullopt};
  if (status == 503) refused.retry_after_ms = limits::full_retry_ms;
  HttpResponse response = options_.refusal ? options_.refusal(refused) : plain_refusal(refused);
  response.status = status;
  return response;
}

HttpServer::HttpServer(asio::io_context& io, ServerOptions options, Handler handler)
    : core_(std::make_shared<Core>(io, std::move(options), std::move(handler))) {}

HttpServer::~HttpServer() {
  core_->terminate();
}

Result<std::uint16_t> HttpServer::listen() {
  return core_->listen();
}

void HttpServer::stop_accepting() {
  core_->stop_accepting();
}

void HttpServer::drain(std::chrono::milliseconds limit, std::function<void()> done) {
  core_->drain(limit, std::move(done));
}

void HttpServer::terminate() {
  core_->terminate();
}

const ServerCounters& HttpServer::counters() const {
  return core_->counters;
}

}  // namespace llorch::net
