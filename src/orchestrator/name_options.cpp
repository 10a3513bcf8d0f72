#include "orchestrator/name_options.h"

#include <algorithm>
#include <cctype>
#include <string>

#include "base/limits.h"

namespace llorch {
namespace {

std::vector<std::string> parts_of(std::string_view list) {
  std::vector<std::string> parts;
  while (!list.empty()) {
    auto part = list.substr(0, list.find(','));
    list.remove_prefix(std::min(part.size() + 1, list.size()));
    while (part.starts_with(' ')) part.remove_prefix(1);
    while (part.ends_with(' ')) part.remove_suffix(1);
    if (!part.empty()) parts.emplace_back(part);
  }
  return parts;
}

bool is_host(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_';
  });
}

// Source: RFC 6454 §6.1, as browsers write it: no path, not even "/".
bool is_origin(std::string_view origin) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!origin.starts_with(scheme)) continue;
    const auto authority = origin.substr(scheme.size());
    const auto host = authority.substr(0, authority.find(':'));
    const auto port = authority.substr(std::min(host.size() + 1, authority.size()));
    const bool digits = port.find_first_not_of("0123456789") == port.npos;
    return is_host(host) && digits && (!port.empty() || host.size() == authority.size());
  }
  return false;
}

void check_count(const char* flag, std::size_t count, std::vector<Violation>& found) {
  if (count <= limits::allowed_names_max) return;
  found.push_back({flag, "<= 64 names", "must have at most 64 names", std::to_string(count)});
}

}  // namespace

AllowedNames allowed_names(std::string_view hosts, std::string_view origins, bool token_set,
                           std::vector<Violation>& found) {
  AllowedNames names{.hosts = parts_of(hosts), .origins = parts_of(origins)};
  check_count("--allowed-hosts", names.hosts.size(), found);
  check_count("--cors-origins", names.origins.size(), found);
  for (const auto& host : names.hosts) {
    if (is_host(host)) continue;
    found.push_back({"--allowed-hosts", "host names",
                     "must be host names without scheme and port, such as llm.example", host});
  }
  for (const auto& origin : names.origins) {
    if (origin == "*" && !token_set) {
      found.push_back({"--cors-origins", "* with LLORCH_API_TOKEN",
                       "* needs LLORCH_API_TOKEN: without it, any web page could use this machine",
                       origin});
    } else if (origin != "*" && !is_origin(origin)) {
      found.push_back({"--cors-origins", "origins",
                       "must be SCHEME://HOST[:PORT] without a path, such as https://app.example",
                       origin});
    }
  }
  return names;
}

}  // namespace llorch
