#include "net/client_core.h"

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <chrono>
#include <fmt/format.h>
#include <utility>

#include "net/name_lookup.h"

namespace llorch::net {

using std::chrono::milliseconds;

namespace {

constexpr std::size_t read_at_once_bytes = 64 * limits::kib;  // one system call for a burst

}  // namespace

std::int64_t left_ms(SteadyTime end) {
  const auto left = std::chrono::ceil<milliseconds>(end - std::chrono::steady_clock::now());
  return std::max<std::int64_t>(left.count(), 0);
}

HttpClient::Core::Core(asio::io_context& io, ClientOptions options)
    : options_(std::move(options)),
      executor_(io.get_executor()),
      timer_(std::make_shared<WheelTimer>(io.get_executor())) {}

std::unique_ptr<ClientConnection> HttpClient::Core::take_idle(const std::string& server) {
  const SteadyTime now = std::chrono::steady_clock::now();
  std::erase_if(idle_, [&](const auto& connection) {
    return now - connection->idle_since > milliseconds(options_.idle_ms);
  });
  for (std::size_t at = idle_.size(); at-- > 0;) {
    if (idle_[at]->server != server) continue;
    auto connection = std::move(idle_[at]);
    idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(at));
    if (connection->transport.quiet()) return connection;
  }
  return nullptr;
}

void HttpClient::Core::keep_idle(std::unique_ptr<ClientConnection> connection) {
  if (!connection->in.empty() || options_.idle_connections_max == 0) return;
  connection->idle_since = std::chrono::steady_clock::now();
  if (idle_.size() >= options_.idle_connections_max) idle_.erase(idle_.begin());
  idle_.push_back(std::move(connection));
}

asio::mutable_buffer HttpClient::Core::scratch() {
  if (scratch_.empty()) scratch_.resize(read_at_once_bytes);
  return asio::buffer(scratch_);
}

Result<asio::ssl::context*> HttpClient::Core::tls() {
  if (tls_) return &*tls_;
  error_code error;
  asio::ssl::context context(asio::ssl::context::tls_client);
  context.set_options(asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1, error);
  context.set_verify_mode(asio::ssl::verify_peer, error);
  if (options_.tls_ca_file.empty()) {
    context.set_default_verify_paths(error);
  } else {
    context.load_verify_file(options_.tls_ca_file, error);
  }
  if (error) {
    return fail(Code::invalid_request,
                fmt::format("authorities {}: {}", options_.tls_ca_file, error.message()),
                "give a readable PEM file");
  }
  return &tls_.emplace(std::move(context));
}

Task<Result<std::unique_ptr<ClientConnection>>> HttpClient::Core::connect(Url url,
                                                                          std::int64_t limit_ms) {
  // One deadline for all three steps: each of them may use up what the others left.
  const SteadyTime end =
      std::chrono::steady_clock::now() + milliseconds(std::min(limit_ms, options_.connect_ms));
  const std::string authority = authority_of(url);
  const std::string server = fmt::format("{}://{}", url.scheme, authority);
  const auto endpoints = co_await look_up(url.host, url.port, timer_, left_ms(end));
  if (!endpoints) co_return fail(endpoints.error());
  auto connection = std::make_unique<ClientConnection>(tcp::socket(executor_), timer_, server);
  Transport& transport = connection->transport;
  const auto explain = [&](const error_code& error) {
    if (transport.timed_out()) {
      return fail(Code::timeout, fmt::format("connecting to {} took too long", authority));
    }
    return fail(Code::unreachable, fmt::format("{}: {}", authority, error.message()));
  };
  transport.arm(left_ms(end));
  const auto [error, endpoint] =
      co_await asio::async_connect(transport.socket(), *endpoints, as_result);
  if (error) co_return explain(error);
  transport.prepare();
  if (url.scheme == "https") {
    const auto context = tls();
    if (!context) co_return fail(context.error());
    const error_code refused = co_await transport.handshake(**context, url.host);
    if (refused) co_return explain(refused);
  }
  transport.disarm();
  co_return connection;
}

}  // namespace llorch::net
