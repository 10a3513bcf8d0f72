#include "api/auth.h"

#include <algorithm>
#include <cctype>

#include "base/random.h"

namespace llorch {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

// "name:port", "[::1]:port" or "scheme://name:port" without scheme, port and brackets.
std::string host_part(std::string_view text) {
  if (const auto scheme = text.find("://"); scheme != text.npos) text.remove_prefix(scheme + 3);
  text = text.substr(0, text.find('/'));
  if (text.starts_with('[')) return lower(text.substr(1, text.find(']') - 1));
  return lower(text.substr(0, text.find(':')));
}

bool is_address(std::string_view host) {
  if (host.find(':') != host.npos) return true;  // only IPv6 has colons inside brackets
  return !host.empty() && host.find_first_not_of("0123456789.") == host.npos;
}

bool is_own_name(std::string_view text, std::string_view machine_name) {
  const auto host = host_part(text);
  return is_address(host) || host == "localhost" || host.ends_with(".localhost") ||
         host == lower(machine_name);
}

bool is_listed(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::any_of(names,
                             [&](const std::string& listed) { return lower(listed) == name; });
}

}  // namespace

bool same_secret(std::string_view given, std::string_view secret) {
  unsigned difference = given.size() != secret.size() ? 1U : 0U;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const char expected = secret.empty() ? '\0' : secret[i % secret.size()];
    difference |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(expected);
  }
  return difference == 0 && !secret.empty();
}

std::string_view bearer_token(std::optional<std::string_view> authorization) {
  constexpr std::string_view scheme = "bearer ";
  const auto given = authorization.value_or("");
  if (lower(given.substr(0, scheme.size())) != scheme) return {};
  return given.substr(scheme.size());
}

bool is_allowed_origin(const AllowedNames& names, std::string_view origin) {
  const auto given = lower(origin);
  return std::ranges::any_of(names.origins, [&](const std::string& allowed) {
    return allowed == "*" || lower(allowed) == given;
  });
}

Result<void> check_names(const Caller& caller, std::string_view machine_name,
                         const AllowedNames& names) {
  if (caller.host && !is_own_name(*caller.host, machine_name) &&
      !is_listed(names.hosts, host_part(*caller.host))) {
    return fail(Code::forbidden, "the Host header is not a name of this machine");
  }
  if (caller.origin && !is_own_name(*caller.origin, machine_name) &&
      !is_allowed_origin(names, *caller.origin)) {
    return fail(Code::forbidden, "the Origin header is not this machine");
  }
  return {};
}

Result<void> authorise(const Caller& caller, std::string_view token,
                       std::string_view machine_name) {
  if (token.empty()) return check_names(caller, machine_name, {});
  if (same_secret(bearer_token(caller.authorization), token)) return {};
  return fail(Code::unauthorized, "a token is wanted: Authorization: Bearer TOKEN");
}

std::string correlation_id_of(std::optional<std::string_view> header) {
  constexpr std::size_t length_max = 64;
  const auto allowed = [](unsigned char c) { return std::isalnum(c) || c == '-'; };
  if (header && !header->empty() && header->size() <= length_max &&
      std::ranges::all_of(*header, allowed)) {
    return std::string(*header);
  }
  return random_uuid();
}

bool is_loopback(std::string_view host) {
  return host == "localhost" || host == "::1" ||
         (host.starts_with("127.") && host.find_first_not_of("0123456789.") == host.npos);
}

}  // namespace llorch
