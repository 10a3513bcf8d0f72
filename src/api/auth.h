// Who may call which route: the worker's token, and without one only this machine's own names.
// Threads: any. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace llorch {

// Compares without stopping at the first difference, so that time tells nothing of the secret.
bool same_secret(std::string_view given, std::string_view secret);

// The parts of a request that decide; absent headers are nullopt.
struct Caller {
  std::optional<std::string_view> authorization;  // "Bearer …"
  std::optional<std::string_view> host;
  std::optional<std::string_view> origin;
};

// The secret of "Bearer SECRET"; empty: there is none.
std::string_view bearer_token(std::optional<std::string_view> authorization);

// What a daemon is called beside this machine's own names, and whose pages may call it.
struct AllowedNames {
  std::vector<std::string> hosts;    // "llm.example"
  std::vector<std::string> origins;  // "https://app.example"; "*": any
};
bool is_allowed_origin(const AllowedNames& names, std::string_view origin);

// Of a request without a key: a web page must not reach this machine by a name that resolves to
// 127.0.0.1. Host and Origin must be an address, localhost, `machine_name` or one of `names`.
// Errors: forbidden.
Result<void> check_names(const Caller& caller, std::string_view machine_name,
                         const AllowedNames& names);

// With a token: the caller must send it. Without one the worker is bound to loopback, and
// check_names() decides. Errors: unauthorized (token absent or wrong), forbidden (a foreign Host or
// Origin).
Result<void> authorise(const Caller& caller, std::string_view token, std::string_view machine_name);

// Whether only this machine can reach `host`: localhost, 127.0.0.0/8 or ::1.
bool is_loopback(std::string_view host);

// A correlation id as accepted: [A-Za-z0-9-]{1,64}; else a new one.
std::string correlation_id_of(std::optional<std::string_view> header);

}  // namespace llorch
