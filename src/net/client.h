// An HTTP/1.1 client with kept-alive connections: whole replies, or bodies as they come.
// Threads: the io_context's one thread.
// Lifetime: the io_context outlives the client; a ResponseStream may outlive it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/limits.h"
#include "base/result.h"
#include "net/asio.h"
#include "net/http_types.h"

namespace llorch::net {

struct Url {
  std::string scheme;  // "http" or "https"
  std::string host;    // a name or an address; IPv6 without brackets
  std::uint16_t port = 80;
  std::string target = "/";  // path and query
  bool operator==(const Url&) const = default;
};

// Takes http:// and https:// URLs without user, password and fragment.
// Errors: invalid_request with the reason.
Result<Url> parse_url(std::string_view text);
// "host:port" as it stands in a Host header: brackets round IPv6, no default port.
std::string authority_of(const Url& url);

struct ClientOptions {
  std::int64_t connect_ms = limits::connect_ms;          // name, TCP and TLS together
  std::int64_t idle_ms = limits::client_idle_ms;         // then a kept connection is not reused
  std::int64_t write_stall_ms = limits::write_stall_ms;  // without one byte taken by the server
  std::size_t idle_connections_max = limits::client_idle_connections_max;  // all hosts together
  std::size_t response_bytes_max = limits::response_bytes_max;             // of fetch()
  std::string tls_ca_file;  // PEM; empty: the system's authorities
};

// The body of one reply as it arrives. Destroying it closes a connection still in use.
class ResponseStream {
 public:
  class State;
  explicit ResponseStream(std::unique_ptr<State> state);
  ~ResponseStream();
  ResponseStream(const ResponseStream&) = delete;
  ResponseStream& operator=(const ResponseStream&) = delete;

  unsigned status() const;
  const Headers& headers() const;
  // Frees them: a stream may last for minutes, and there may be thousands.
  void forget_headers();

  // The next bytes of the body, as they come; an empty string is its clean end, again and again.
  // Errors: unreachable (cut before the end, or broken framing), timeout (nothing for `idle`).
  // After an error the connection is closed and the error stays.
  Task<Result<std::string>> read(std::chrono::milliseconds idle);
  // The same, put behind `into` without a copy in between; 0 bytes are the clean end. Shape: at
  // most 64 KiB, or what came with the head.
  Task<Result<std::size_t>> read_onto(std::string& into, std::chrono::milliseconds idle);
  // Leaves: the server sees its peer gone; a read() in progress ends with unreachable. Idempotent.
  void close();

 private:
  std::unique_ptr<State> state_;
};

class Transport;

// Ends an open() from outside, while it waits for the head of its reply: the server sees its peer
// gone. Lifetime: outlives that open().
class Abort {
 public:
  void now();

 private:
  friend class HttpClient;
  bool aborted_ = false;
  Transport* transport_ = nullptr;  // while it is in use
};

class HttpClient {
 public:
  explicit HttpClient(asio::io_context& io, ClientOptions options = {});
  ~HttpClient();  // closes idle connections
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Sends method, headers and body of `request` to `url` (its own target is not used); Host,
  // Content-Length and Accept are added. `deadline` is for everything until the last byte.
  // A kept connection that turns out dead before any byte of a reply is replaced once, for
  // methods that may be sent twice, or when nothing had been written.
  // Errors: unreachable, timeout, too_large (past response_bytes_max), invalid_request.
  Task<Result<HttpResponse>> fetch(Url url, HttpRequest request,
                                   std::chrono::milliseconds deadline);
  // As fetch(), but `deadline` is for the head alone; the body comes by ResponseStream::read().
  // Errors: also unreachable, after `abort`.
  Task<Result<std::unique_ptr<ResponseStream>>> open(Url url, HttpRequest request,
                                                     std::chrono::milliseconds deadline,
                                                     Abort* abort = nullptr);
  void close_idle();

 private:
  class Core;
  friend class ResponseStream;
  std::shared_ptr<Core> core_;
};

}  // namespace llorch::net
