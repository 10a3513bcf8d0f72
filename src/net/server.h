// An HTTP/1.1 server: one handler answers every request, one coroutine a connection.
// Threads: the io_context's one thread, for every method and every callback.
// Lifetime: the io_context outlives the server; what the handler uses outlives `done` of drain().
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/limits.h"
#include "base/result.h"
#include "net/asio.h"
#include "net/http_types.h"

namespace llorch::net {

class Connection;

struct TlsFiles {
  std::string certificate;  // PEM, the chain from the leaf up
  std::string key;          // PEM
};

// A request that no handler answers: bad framing, a limit, a handler that threw.
struct RefusedRequest {
  Code code = Code::invalid_request;  // the reply's status is HTTP's own, which has more of them
  std::string_view message;
  const HttpRequest& request;  // as far as it was understood; the path is "/" if not even that
  std::optional<std::int64_t> retry_after_ms;
};

struct ServerOptions {
  std::string host = "127.0.0.1";  // an address or a name of this machine
  std::uint16_t port = 0;          // 0: any free one
  std::size_t connections_max = limits::connections_max;
  std::size_t body_bytes_max = limits::body_bytes_max;
  std::size_t received_max = limits::received_max;       // of all bodies on their way, together
  std::int64_t keep_alive_ms = limits::keep_alive_ms;    // idle, between two requests
  std::int64_t head_read_ms = limits::head_read_ms;      // from its first byte, or from accept
  std::int64_t body_read_ms = limits::body_read_ms;      // the whole body
  std::int64_t write_stall_ms = limits::write_stall_ms;  // without one byte taken by the peer
  std::optional<TlsFiles> tls;                           // absent: plain HTTP
  // A path that is answered past connections_max too, without a body; empty: none.
  std::string spared_path;
  // Headers and body of such a reply. Empty: {"error":{code, message, retriable}}.
  std::function<HttpResponse(const RefusedRequest&)> refusal;
};

// One request and its one reply: reply(), or begin_stream(), write()…, end_stream().
// Errors of all of them: unreachable (the peer is gone, or stalled too long; stop and return),
// internal (a header that cannot be written, or a second reply).
class Exchange {
 public:
  explicit Exchange(Connection& connection) : connection_(connection) {}
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  const HttpRequest& request() const;
  HttpRequest& request();    // to move the body out: it is kept until the handler returns, else
  std::string peer() const;  // "127.0.0.1:54321"
  Executor executor() const;

  // Content-Length, Date and Connection are added; a Content-Type is the handler's.
  Task<Result<void>> reply(HttpResponse response);

  // Sends the head of a reply whose length is not known: chunked, or until close on HTTP/1.0.
  // `first`: of the body, sent together with it.
  Task<Result<void>> begin_stream(unsigned status, Headers headers, std::string_view first = {});
  // Sends `bytes` (kept by the caller until then) with one gathered system call; resolves when the
  // kernel took all of them, so a slow reader makes its writer wait. Empty `bytes` send only
  // what offer() has left.
  Task<Result<void>> write(std::string_view bytes);
  Task<Result<void>> end_stream(std::string_view last = {});
  // Sends `bytes` at once and without a coroutine. False: they are not taken, because an earlier
  // write is not through, or the peer is gone, or it is TLS. What the kernel did not take is kept;
  // while behind() says so, somebody is to write().
  bool offer(std::string_view bytes);
  bool behind() const;

  // Calls `left` once, on the io thread, when the peer leaves before the reply is complete, also
  // while nothing is being written. A peer that already left: at once. Forgotten when the handler
  // returns; a later call replaces it.
  void on_disconnect(std::function<void()> left);
  bool disconnected() const;

 private:
  Connection& connection_;
};

// A handler that returns without a reply, or throws before one, answers 500; one that leaves a
// stream open has it cut.
using Handler = std::function<Task<void>(Exchange&)>;

struct ServerCounters {
  std::uint64_t connections_accepted = 0;
  std::uint64_t connections_refused = 0;  // over connections_max
  std::uint64_t accept_errors = 0;        // out of files, mostly
  std::uint64_t requests = 0;             // that reached the handler
  std::uint64_t requests_refused = 0;     // framing, limits
  std::uint64_t timeouts = 0;             // slow heads, bodies and readers
  std::size_t connections_open = 0;
  std::size_t bytes_receiving = 0;  // of the bodies on their way
};

class HttpServer {
 public:
  HttpServer(asio::io_context& io, ServerOptions options, Handler handler);
  ~HttpServer();  // terminates
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Binds and begins to accept. Returns the port.
  // Errors: conflict (the port is taken), forbidden (a port below 1024, mostly), invalid_request
  // (no such address here, certificate or key not usable).
  Result<std::uint16_t> listen();
  // New connections are refused from now on; open ones are served on. Idempotent.
  void stop_accepting();
  // stop_accepting(), closes idle connections, ends each other one after its running reply. `done`
  // is called once, never from inside this call, when all are closed; after `limit` they are cut.
  // Of several calls the soonest limit counts, and every `done` is called.
  void drain(std::chrono::milliseconds limit, std::function<void()> done);
  // Cuts every connection; handlers see their peer leave.
  void terminate();

  const ServerCounters& counters() const;

 private:
  class Core;
  friend class Connection;
  std::shared_ptr<Core> core_;
};

}  // namespace llorch::net
