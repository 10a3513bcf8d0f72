#include <algorithm>
#include <charconv>
#include <fmt/format.h>

#include "net/client.h"

namespace llorch::net {
namespace {

bool is_host(std::string_view host, bool bracketed) {
  const auto allowed = [bracketed](char c) {
    const bool digit = c >= '0' && c <= '9';
    const char lower = static_cast<char>(c | 0x20);
    if (bracketed) return digit || (lower >= 'a' && lower <= 'f') || c == ':' || c == '.';
    return digit || (lower >= 'a' && lower <= 'z') || c == '-' || c == '.' || c == '_';
  };
  return !host.empty() && host.front() != '-' && std::ranges::all_of(host, allowed);
}

std::uint16_t default_port(std::string_view scheme) {
  return scheme == "https" ? 443 : 80;
}

}  // namespace

Result<Url> parse_url(std::string_view text) {
  const auto refuse = [&](const char* why) {
    return fail(Code::invalid_request, fmt::format("url '{}': {}", text, why),
                "give it as http://HOST:PORT");
  };
  Url url;
  std::string_view rest = text;
  for (const std::string_view scheme : {"http", "https"}) {
    const std::string prefix = fmt::format("{}://", scheme);
    if (!text.starts_with(prefix)) continue;
    url.scheme = scheme;
    rest.remove_prefix(prefix.size());
  }
  if (url.scheme.empty()) return refuse("want http:// or https://");
  const auto visible = [](char c) { return c > 0x20 && c < 0x7f && c != '#'; };
  if (!std::ranges::all_of(rest, visible)) return refuse("blanks, '#' and control bytes not taken");
  const std::size_t slash = std::min(rest.find_first_of("/?"), rest.size());
  std::string_view authority = rest.substr(0, slash);
  if (slash < rest.size()) {
    url.target = rest[slash] == '?' ? fmt::format("/{}", rest.substr(slash)) : rest.substr(slash);
  }
  const bool bracketed = authority.starts_with('[');
  const std::size_t host_end = bracketed ? authority.find(']') : authority.find(':');
  std::string_view host = authority.substr(0, host_end);
  if (bracketed) {
    if (host_end == authority.npos) return refuse("'[' without ']'");
    host.remove_prefix(1);
    authority.remove_prefix(host_end + 1);
  } else {
    authority.remove_prefix(host.size());
  }
  if (!is_host(host, bracketed)) return refuse("want a host name or an address");
  url.host = host;
  url.port = default_port(url.scheme);
  if (authority.empty()) return url;
  const char* const end = authority.data() + authority.size();
  const auto [stop, status] = std::from_chars(authority.data() + 1, end, url.port);
  const bool is_port = authority.front() == ':' && status == std::errc{} && stop == end;
  if (!is_port || url.port == 0) return refuse("want a port in 1..65535");
  return url;
}

std::string authority_of(const Url& url) {
  const bool v6 = url.host.find(':') != std::string::npos;
  std::string authority = v6 ? fmt::format("[{}]", url.host) : url.host;
  if (url.port != default_port(url.scheme)) authority += fmt::format(":{}", url.port);
  return authority;
}

}  // namespace llorch::net
