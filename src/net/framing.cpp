#include "net/framing.h"

#include <algorithm>
#include <charconv>

#include "base/limits.h"

namespace llorch::net {
namespace {

constexpr std::string_view crlf = "\r\n";
constexpr int chunk_digits_max = 16;  // what 64 bits take

std::unexpected<Refusal> refuse(unsigned status, const char* why) {
  return std::unexpected(Refusal{status, why});
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Takes off the first line; HeadScanner has made sure that each ends in CRLF.
std::string_view take_line(std::string_view& head) {
  const std::size_t end = std::min(head.find(crlf), head.size());
  const std::string_view line = head.substr(0, end);
  head.remove_prefix(std::min(end + crlf.size(), head.size()));
  return line;
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// Whether a comma-separated list names `token`.
bool lists(std::string_view list, std::string_view token) {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    if (same_name(trimmed(list.substr(0, comma)), token)) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

// Tokens with commas between them; empty places are allowed. Source: RFC 9110 §5.6.1.
bool is_token_list(std::string_view list) {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    const std::string_view token = trimmed(list.substr(0, comma));
    if (!token.empty() && !is_header_name(token)) return false;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return true;
}

// "HTTP/1.0" or "HTTP/1.1"; true for 1.0.
Guarded<bool> parse_version(std::string_view text) {
  if (text == "HTTP/1.1") return false;
  if (text == "HTTP/1.0") return true;
  const bool well_formed = text.size() == 8 && text.starts_with("HTTP/") && is_digit(text[5]) &&
                           text[6] == '.' && is_digit(text[7]);
  if (well_formed) return refuse(505, "this server speaks HTTP/1.1 and HTTP/1.0");
  return refuse(400, "the request line does not end in an HTTP version");
}

// host[:port] of a Host field: a name, an IPv4 address or a bracketed IPv6 address.
bool is_authority(std::string_view text) {
  if (text.empty()) return false;
  std::string_view port;
  if (text.front() == '[') {
    const auto bracket = text.find(']');
    if (bracket == text.npos || bracket < 3) return false;
    const auto in_address = [](char c) {
      return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':' ||
             c == '.';
    };
    if (!std::ranges::all_of(text.substr(1, bracket - 1), in_address)) return false;
    port = text.substr(bracket + 1);
  } else {
    const std::size_t colon = std::min(text.find(':'), text.size());
    const auto in_name = [](char c) {
      return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
             c == '.' || c == '_';
    };
    if (colon == 0 || !std::ranges::all_of(text.substr(0, colon), in_name)) return false;
    port = text.substr(colon);
  }
  if (port.empty()) return true;
  port.remove_prefix(1);  // a colon, else not all digits
  return port.size() <= 5 && std::ranges::all_of(port, is_digit) &&
         text[text.size() - port.size() - 1] == ':';
}

// The fields of `head` after its first line, up to the empty one.
Guarded<Headers> parse_fields(std::string_view head) {
  Headers headers;
  while (true) {
    const std::string_view line = take_line(head);
    if (line.empty()) break;
    if (headers.size() == limits::header_fields_max) return refuse(431, "too many header fields");
    const auto colon = line.find(':');
    if (colon == line.npos) return refuse(400, "a header line has no colon");
    const std::string_view name = line.substr(0, colon);
    const std::string_view value = trimmed(line.substr(colon + 1));
    // Refuses a blank before the colon, and folding: a folded line begins with a blank.
    if (!is_header_name(name)) return refuse(400, "a header name is not a token");
    if (!is_header_value(value)) return refuse(400, "a header value holds a control byte");
    headers.add(name, value);
  }
  if (!head.empty()) return refuse(400, "bytes after the end of the head");
  return headers;
}

// The fields that say where the body ends and whether another message follows it.
struct FramingFields {
  std::size_t hosts = 0, lengths = 0, codings = 0, expectations = 0;
  std::string_view host, length, coding, expectation;
  bool close = false, keep = false, bad_connection = false;
};

FramingFields framing_fields(const Headers& headers) {
  FramingFields found;
  for (const auto& [name, value] : headers) {
    if (same_name(name, "Host")) {
      found.host = value;
      ++found.hosts;
    } else if (same_name(name, "Content-Length")) {
      found.length = value;
      ++found.lengths;
    } else if (same_name(name, "Transfer-Encoding")) {
      found.coding = value;
      ++found.codings;
    } else if (same_name(name, "Expect")) {
      found.expectation = value;
      ++found.expectations;
    } else if (same_name(name, "Connection")) {
      found.bad_connection = found.bad_connection || !is_token_list(value);
      found.close = found.close || lists(value, "close");
      found.keep = found.keep || lists(value, "keep-alive");
    }
  }
  return found;
}

Guarded<Framing> parse_framing(const FramingFields& fields, bool http_1_0) {
  Framing framing;
  framing.http_1_0 = http_1_0;
  framing.keep_alive = !fields.close && (!http_1_0 || fields.keep);
  if (fields.bad_connection) return refuse(400, "Connection is not a list of tokens");
  if (fields.lengths > 1) return refuse(400, "more than one Content-Length");
  if (fields.codings > 1) return refuse(400, "more than one Transfer-Encoding");
  if (fields.codings == 1) {
    if (fields.lengths == 1) return refuse(400, "both Transfer-Encoding and Content-Length");
    if (http_1_0) return refuse(400, "Transfer-Encoding in HTTP/1.0");
    if (!same_name(fields.coding, "chunked")) return refuse(400, "want Transfer-Encoding: chunked");
    framing.body = Framing::Body::chunked;
  } else if (fields.lengths == 1) {
    const auto length = parse_content_length(fields.length);
    if (!length) return refuse(400, "Content-Length is not a number of bytes");
    framing.content_length = *length;
    framing.body = *length > 0 ? Framing::Body::length : Framing::Body::none;
  }
  return framing;
}

// METHOD SP TARGET SP VERSION, each blank exactly one.
Guarded<bool> parse_request_line(std::string_view line, HttpRequest& request) {
  const std::size_t first = std::min(line.find(' '), line.size());
  const std::size_t last = line.rfind(' ');
  if (first == line.size() || first == last) {
    return refuse(400, "the request line wants: METHOD /path HTTP/1.1");
  }
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  if (!is_header_name(method)) return refuse(400, "the method is not a token");
  auto http_1_0 = parse_version(line.substr(last + 1));
  if (!http_1_0) return http_1_0;
  const auto visible = [](char c) { return c > 0x20 && c < 0x7f && c != '#'; };
  if (!std::ranges::all_of(target, visible)) return refuse(400, "a byte the target cannot hold");
  // Absolute and authority targets are for proxies, and name a second host beside the Host field.
  const bool whole_server = target == "*" && method == "OPTIONS";
  if (!target.starts_with('/') && !whole_server) return refuse(400, "the target is not a path");

  const std::size_t question = std::min(target.find('?'), target.size());
  request.method = method;
  request.target = target;
  request.path = target.substr(0, question);
  request.query = target.substr(std::min(question + 1, target.size()));
  return http_1_0;
}

}  // namespace

Guarded<std::optional<std::size_t>> HeadScanner::scan(std::string_view received) {
  const std::string_view head = received.substr(0, limits::head_bytes_max);
  for (; scanned_ < head.size(); ++scanned_) {
    const auto byte = static_cast<unsigned char>(head[scanned_]);
    if (scanned_ > 0 && head[scanned_ - 1] == '\r' && byte != '\n') {
      return refuse(400, "a CR without LF");
    }
    if (byte >= 0x20 || byte == '\t' || byte == '\r') continue;
    if (byte != '\n') return refuse(400, "a control byte in the head");
    if (scanned_ == 0 || head[scanned_ - 1] != '\r') return refuse(400, "an LF without CR");
    const bool empty_line = scanned_ == line_start_ + 1;
    line_start_ = scanned_ + 1;
    if (!empty_line) continue;
    if (line_start_ == crlf.size()) return refuse(400, "an empty line before the first one");
    return line_start_;
  }
  if (received.size() >= limits::head_bytes_max) return refuse(431, "the head is over 16 KiB");
  return std::nullopt;
}

std::optional<std::uint64_t> parse_content_length(std::string_view text) {
  std::uint64_t length = 0;
  if (text.empty() || !std::ranges::all_of(text, is_digit)) return std::nullopt;
  const auto [stop, status] = std::from_chars(text.data(), text.data() + text.size(), length);
  if (status != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return length;
}

Guarded<RequestHead> parse_request_head(std::string_view head) {
  RequestHead result;
  const auto http_1_0 = parse_request_line(take_line(head), result.request);
  if (!http_1_0) return std::unexpected(http_1_0.error());
  auto headers = parse_fields(head);
  if (!headers) return std::unexpected(headers.error());
  const FramingFields fields = framing_fields(*headers);
  if (fields.hosts > 1) return refuse(400, "more than one Host");
  if (fields.hosts == 0 && !*http_1_0) return refuse(400, "no Host");
  if (fields.hosts == 1 && !is_authority(fields.host)) return refuse(400, "Host is not host:port");
  const auto framing = parse_framing(fields, *http_1_0);
  if (!framing) return std::unexpected(framing.error());
  if (fields.expectations > 1) return refuse(400, "more than one Expect");
  if (fields.expectations == 1) {
    if (!same_name(fields.expectation, "100-continue")) return refuse(417, "an unknown Expect");
    result.expects_continue = !*http_1_0;  // Source: RFC 9110 §10.1.1, 1.0 never waits.
  }
  result.framing = *framing;
  result.request.headers = std::move(*headers);
  return result;
}

Guarded<ResponseHead> parse_response_head(std::string_view head, std::string_view request_method) {
  ResponseHead result;
  const std::string_view line = take_line(head);
  const auto http_1_0 = parse_version(line.substr(0, 8));
  if (!http_1_0) return std::unexpected(http_1_0.error());
  const bool well_formed = line.size() >= 12 && line[8] == ' ' && line[9] >= '1' &&
                           line[9] <= '5' && is_digit(line[10]) && is_digit(line[11]) &&
                           (line.size() == 12 || line[12] == ' ') && is_header_value(line);
  if (!well_formed) return refuse(400, "the status line is malformed");
  const unsigned status =
      static_cast<unsigned>((line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0'));
  auto headers = parse_fields(head);
  if (!headers) return std::unexpected(headers.error());
  const FramingFields fields = framing_fields(*headers);
  const auto framing = parse_framing(fields, *http_1_0);
  if (!framing) return std::unexpected(framing.error());
  result.framing = *framing;
  const bool bodiless = status < 200 || status == 204 || status == 304 || request_method == "HEAD";
  if (bodiless) {
    result.framing.body = Framing::Body::none;
  } else if (fields.lengths == 0 && fields.codings == 0) {
    result.framing.body = Framing::Body::until_close;
    result.framing.keep_alive = false;
  }
  result.response.status = status;
  result.response.headers = std::move(*headers);
  return result;
}

Guarded<ChunkedDecoder::Piece> ChunkedDecoder::refuse(unsigned status, const char* why) {
  state_ = State::refused;
  return std::unexpected(Refusal{status, why});
}

// One byte of the line that gives a chunk's size.
Guarded<ChunkedDecoder::Piece> ChunkedDecoder::take_size(char byte) {
  int digit = -1;
  if (is_digit(byte)) digit = byte - '0';
  if (byte >= 'a' && byte <= 'f') digit = byte - 'a' + 10;
  if (byte >= 'A' && byte <= 'F') digit = byte - 'A' + 10;
  if (digit >= 0) {
    if (++digits_ > chunk_digits_max) return refuse(400, "a chunk size of too many digits");
    left_ = left_ << 4 | static_cast<std::uint64_t>(digit);
    return Piece{1, {}};
  }
  if (byte != '\r' || digits_ == 0) return refuse(400, "a chunk size that is not hexadecimal");
  if (left_ > room_) return refuse(413, "the body is too large");
  state_ = State::size_lf;
  return Piece{1, {}};
}

// The usual case: a chunk, not the last, that is here as a whole. nullopt: it goes step by step.
std::optional<ChunkedDecoder::Piece> ChunkedDecoder::whole_chunk(std::string_view input) {
  constexpr std::string_view line_end = "\r\n";
  const std::size_t digits_most = std::min<std::size_t>(input.size(), chunk_digits_max);
  std::uint64_t size = 0;
  const auto read = std::from_chars(input.data(), input.data() + digits_most, size, 16);
  const auto line = static_cast<std::size_t>(read.ptr - input.data()) + line_end.size();
  if (read.ec != std::errc() || size == 0 || size > room_) return std::nullopt;
  if (input.size() < line + line_end.size() || input.size() - line - line_end.size() < size) {
    return std::nullopt;
  }
  const auto rest = input.substr(line - line_end.size());
  const bool framed =
      rest.starts_with(line_end) && rest.substr(line_end.size() + size).starts_with(line_end);
  if (!framed) return std::nullopt;
  room_ -= size;
  return Piece{line + size + line_end.size(), input.substr(line, size)};
}

Guarded<ChunkedDecoder::Piece> ChunkedDecoder::next(std::string_view input) {
  // A state that wants one certain byte, and where it leads.
  const auto want = [&](char byte, State then) -> Guarded<Piece> {
    if (input.front() != byte) return refuse(400, "a chunk without its CRLF, or a trailer");
    state_ = then;
    return Piece{1, {}};
  };
  if (state_ == State::refused) return refuse(400, "the body was refused");
  if (input.empty()) return Piece{};
  if (state_ == State::size && digits_ == 0) {
    if (const auto piece = whole_chunk(input)) return *piece;
  }
  switch (state_) {
    case State::size:
      return take_size(input.front());
    case State::size_lf:
      return want('\n', left_ == 0 ? State::end_cr : State::data);
    case State::data_cr:
      return want('\r', State::data_lf);
    case State::data_lf:
      digits_ = 0;
      return want('\n', State::size);
    case State::end_cr:
      return want('\r', State::end_lf);
    case State::end_lf:
      return want('\n', State::done);
    case State::data:
      break;
    case State::done:
    case State::refused:
      return Piece{};
  }
  const std::size_t taken = std::min<std::uint64_t>(left_, input.size());
  left_ -= taken;
  room_ -= taken;
  if (left_ == 0) state_ = State::data_cr;
  return Piece{taken, input.substr(0, taken)};
}

}  // namespace llorch::net
