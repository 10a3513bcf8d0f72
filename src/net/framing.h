// The guard: reads raw HTTP/1.x heads and chunked bodies, and takes nothing that two readers could
// understand in two ways. Pure; fuzzed.
// Source: RFC 9112, with its leniencies refused (bare LF, folding, extensions, trailers).
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "net/http_types.h"

namespace llorch::net {

// What a server answers to bytes it does not take; the connection is closed after it.
struct Refusal {
  unsigned status = 400;  // 400, 413, 417, 431 or 505; of a server also 503, out of room
  const char* why = "";
};

template <class T>
using Guarded = std::expected<T, Refusal>;

// Finds the end of a head in bytes that arrive in pieces, each byte looked at once.
class HeadScanner {
 public:
  // `received`: everything so far, from the head's first byte. Returns the size of the head with
  // its empty line; nullopt: more is needed. Errors: 400 (a bare LF, NUL or other control byte),
  // 431 (past limits::head_bytes_max).
  Guarded<std::optional<std::size_t>> scan(std::string_view received);

 private:
  std::size_t scanned_ = 0;
  std::size_t line_start_ = 0;
};

struct Framing {
  enum class Body { none, length, chunked, until_close };  // until_close: replies only
  Body body = Body::none;
  std::uint64_t content_length = 0;
  bool keep_alive = false;
  bool http_1_0 = false;
};

struct RequestHead {
  HttpRequest request;  // without its body
  Framing framing;
  bool expects_continue = false;
};

struct ResponseHead {
  HttpResponse response;  // without its body
  Framing framing;
};

// `head` is complete, as HeadScanner found it.
// Errors: 400, 417 (an Expect that is not 100-continue), 431 (too many fields), 505.
Guarded<RequestHead> parse_request_head(std::string_view head);
// `request_method` decides whether a reply has a body. Errors: any; a reply has no other use.
Guarded<ResponseHead> parse_response_head(std::string_view head, std::string_view request_method);

// A decimal Content-Length without sign, blanks or overflow; nullopt otherwise.
std::optional<std::uint64_t> parse_content_length(std::string_view text);

// Takes a chunked body apart as it arrives, without copying it. Source: RFC 9112 §7.1.
class ChunkedDecoder {
 public:
  // `body_bytes_max` counts decoded bytes.
  explicit ChunkedDecoder(std::uint64_t body_bytes_max) : room_(body_bytes_max) {}

  struct Piece {
    std::size_t consumed = 0;  // of the input; the rest is given again next time
    std::string_view data;     // body bytes, a view into the input; may be empty
  };
  // The next piece of `input`. consumed == 0: all of it is used, or done() is true.
  // Errors: 400 (framing), 413 (past body_bytes_max). An error stays.
  Guarded<Piece> next(std::string_view input);
  bool done() const { return state_ == State::done; }

 private:
  enum class State { size, size_lf, data, data_cr, data_lf, end_cr, end_lf, done, refused };
  Guarded<Piece> refuse(unsigned status, const char* why);
  Guarded<Piece> take_size(char byte);
  std::optional<Piece> whole_chunk(std::string_view input);

  State state_ = State::size;
  int digits_ = 0;
  std::uint64_t left_ = 0;  // of this chunk
  std::uint64_t room_ = 0;
};

}  // namespace llorch::net
