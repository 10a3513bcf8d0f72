// Blocking HTTP requests with limits, redirects followed by hand so that no secret leaves its host.
// Threads: one. Source: libcurl.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "base/result.h"

namespace llorch {

struct WebRequest {
  std::string url;  // http or https
  std::string method = "GET";
  std::vector<std::string> headers;  // "Name: value"
  std::string bearer;                // sent to the first host only; empty = none
  std::string body;
  bool direct = false;  // no proxy: a worker of this host
  std::int64_t connect_ms = limits::connect_ms_max;
  std::int64_t total_ms = 0;  // 0 = only the stall limit
  std::int64_t stall_ms = limits::download_stall_ms;
};

struct WebReply {
  long status = 0;
  std::map<std::string, std::string> headers;  // names in lower case; of the last reply
  std::string url;                             // after redirects
  std::optional<std::string> header(const std::string& name) const;
};

class Http {
 public:
  // `head` sees status and headers before the first body byte; `body` takes the bytes as they
  // come. Both end the transfer by an error, which fetch() then gives.
  using Head = std::function<Result<void>(const WebReply&)>;
  using Body = std::function<Result<void>(std::span<const std::byte>)>;
  virtual ~Http() = default;
  // Any status is a reply, not an error. Errors: unreachable (no connection within connect_ms, or
  // cut off), timeout (stalled, or total_ms passed), invalid_request (a URL that is none).
  virtual Result<WebReply> fetch(const WebRequest& request, const Head& head, const Body& body) = 0;
  // Whether the last fetch() found no one there: refused, no such name, silent for connect_ms.
  // What failed otherwise (a reset, TLS, a stall) may go well the next time.
  virtual bool nobody_there() const = 0;

  struct Page {
    WebReply reply;
    std::string body;
  };
  // The whole body at once. Errors: too_large besides those of fetch().
  Result<Page> get(const WebRequest& request, std::size_t bytes_max);
};

std::unique_ptr<Http> make_http();

// "https://hub.example:8443" of a URL, in lower case: what must be equal for a secret to be sent.
std::string origin_of(std::string_view url);
// How long to wait before try `attempt` (from 1): Retry-After where given, else 0.5 s doubled up
// to 16 s. nullopt: the server asks for longer than limits::retry_after_ms_max.
std::optional<std::int64_t> retry_delay_ms(int attempt, const WebReply& reply);

}  // namespace llorch
