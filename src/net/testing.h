// For the tests of net alone: a server and its peers on one io_context, bounded as a whole.
// Threads: the test's one thread.
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "net/client.h"
#include "net/event.h"
#include "net/server.h"
#include "net/task_group.h"
#include "net/transport.h"

namespace llorch::net::testing {

using std::chrono::milliseconds;

inline constexpr milliseconds patience{10'000};  // no wait of a test is longer

// Runs `body` on `io` to its end; a body that hangs fails its test.
inline void run_on(asio::io_context& io, std::function<Task<void>()> body) {
  bool ended = false;
  std::exception_ptr failure;
  auto end = [&](std::exception_ptr thrown) {
    ended = true;
    failure = std::move(thrown);
    io.stop();
  };
  asio::co_spawn(io, body(), end);
  io.restart();
  io.run_for(2 * patience);
  if (failure) std::rethrow_exception(failure);
  ASSERT_TRUE(ended) << "the test hangs";
}

// For what rings no bell: looks at each turn of the loop whether it has come true.
inline Task<void> until(std::function<bool()> holds) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!holds() && std::chrono::steady_clock::now() < end) co_await sleep_for(milliseconds(1));
  EXPECT_TRUE(holds());
}

// A bare TCP peer that says exactly what it is told to.
class Peer {
 public:
  explicit Peer(asio::io_context& io) : socket_(io) {}
  explicit Peer(tcp::socket socket) : socket_(std::move(socket)) {}

  Task<void> connect(std::uint16_t port) {
    const tcp::endpoint to(asio::ip::make_address("127.0.0.1"), port);
    const auto [error] = co_await socket_.async_connect(to, as_result);
    if (error) throw std::runtime_error("connect: " + error.message());
    socket_.set_option(tcp::no_delay(true));
  }
  Task<void> send(std::string bytes) {
    const auto [error, sent] = co_await asio::async_write(socket_, asio::buffer(bytes), as_result);
    if (error) throw std::runtime_error("send: " + error.message());
    static_cast<void>(sent);
  }
  // Up to and including `end`; what follows is kept for the next call. Less at an end of file.
  Task<std::string> read_until(std::string end) {
    const auto [error, size] =
        co_await asio::async_read_until(socket_, asio::dynamic_buffer(in_), end, as_result);
    if (error) co_return std::exchange(in_, {});
    std::string bytes = in_.substr(0, size);
    in_.erase(0, size);
    co_return bytes;
  }
  // Everything up to the end of file; "(reset)" at its end when the connection was reset instead.
  Task<std::string> read_all() {
    while (true) {
      char space[4096];
      const auto [error, size] = co_await socket_.async_read_some(asio::buffer(space), as_result);
      in_.append(space, size);
      if (error == asio::error::connection_reset) in_ += "(reset)";
      if (error) co_return std::exchange(in_, {});
    }
  }
  void close() { socket_.close(); }
  void reset() {
    socket_.set_option(asio::socket_base::linger(true, 0));
    socket_.close();
  }
  tcp::socket& socket() { return socket_; }

 private:
  tcp::socket socket_;
  std::string in_;
};

// A server with its client, on a port of its own.
struct Loopback {
  explicit Loopback(Handler handler, ServerOptions options = {}) {
    server = std::make_unique<HttpServer>(io, std::move(options), std::move(handler));
    const auto bound = server->listen();
    if (!bound) throw std::runtime_error(bound.error().message);
    port = *bound;
    client = std::make_unique<HttpClient>(io);
  }
  ~Loopback() {
    // Every session and handler ends before what they use goes.
    client->close_idle();
    server->terminate();
    io.restart();
    io.run_for(patience);
  }
  void run(std::function<Task<void>()> body) { run_on(io, std::move(body)); }
  Url url(std::string target = "/") const { return {"http", "127.0.0.1", port, std::move(target)}; }
  Task<Result<HttpResponse>> fetch(std::string target, HttpRequest request = {}) {
    return client->fetch(url(std::move(target)), std::move(request), patience);
  }
  Task<Result<std::unique_ptr<ResponseStream>>> open(std::string target, HttpRequest request = {}) {
    return client->open(url(std::move(target)), std::move(request), patience);
  }

  asio::io_context io{1};
  std::unique_ptr<HttpServer> server;
  std::unique_ptr<HttpClient> client;
  std::uint16_t port = 0;
};

inline std::string get(std::string path, std::string more = {}) {
  return "GET " + path + " HTTP/1.1\r\nHost: x\r\n" + more + "\r\n";
}

}  // namespace llorch::net::testing
