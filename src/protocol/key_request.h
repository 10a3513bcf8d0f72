// The body of POST /v2/keys: whom a new key of orchestratord is for, and what it may do.
// {"name":"ci","role":"client","tenant":"acme","models":["qwen"],"tokens_per_minute":60000,
//  "highest_priority":"batch","default_priority":"batch","expires_in_s":2592000}
// Threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace llorch {

struct KeyRequest {
  std::string name;
  std::string role = "client";                    // admin, worker or client
  std::string tenant;                             // empty: of a client its name
  std::vector<std::string> models;                // empty: every model
  std::int64_t tokens_per_minute = 0;             // 0: no bound
  std::string highest_priority = "interactive";   // or batch
  std::string default_priority;                   // empty: the highest
  std::optional<std::int64_t> expires_in_s = {};  // from now; absent: never
  bool operator==(const KeyRequest&) const = default;
};

std::string encode(const KeyRequest& request);
// Unknown fields are refused; tenant and default_priority are filled in.
// Errors: invalid_request with every violation, too_large.
Result<KeyRequest> decode_key_request(std::string_view body);

}  // namespace llorch
