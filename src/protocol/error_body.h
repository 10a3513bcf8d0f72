// Errors as bodies: {"error":{"code":"QUEUE_FULL","message":…,"retriable":true,
// "retry_after_ms":1200,"correlation_id":…}} and, for a 400, "errors":[{field,constraint,message}].
// Threads: any.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace llorch {

// `/v1` speaks OpenAI's shape: {"error":{"message","type","param","code",…}}, ours beside it.
// There the code is in lower case, as OpenAI's own are ("context_length_exceeded").
enum class ErrorShape { ours, openai };

// The code a client is told: the codes that never leave a process become one of the others.
Code client_code(Code code);

std::string error_body(const Error& error, std::string_view correlation_id,
                       ErrorShape shape = ErrorShape::ours);
// The members of the "error" object without its braces, for frames that hold more.
void append_error_members(std::string& out, const Error& error, std::string_view correlation_id,
                          ErrorShape shape);

// Retry-After (seconds, rounded up), retry-after-ms, X-Backoff-Ms (of a 429) and x-should-retry, as
// far as they apply.
// Source: the official OpenAI SDKs read retry-after-ms and x-should-retry.
std::vector<std::pair<std::string, std::string>> error_headers(const Error& error);

struct RemoteError {
  Error error;
  std::string correlation_id;
};
// What a reply of `http_status` says went wrong, in either shape; a body that is neither gives
// the code nearest to the status and the body's first line. Never fails.
RemoteError decode_error(unsigned http_status, std::string_view body);
// The same for one "error" event or frame of a stream, where no status is left to read.
RemoteError decode_error_event(std::string_view json);

}  // namespace llorch
