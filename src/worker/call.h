// One request on its way through a route, and how routes answer: bodies, errors, headers.
// Threads: the io thread. Lifetime: that of the request's coroutine.
#pragma once

#include <string>
#include <string_view>

#include "api/reply.h"
#include "base/result.h"
#include "net/server.h"
#include "protocol/error_body.h"
#include "worker/service.h"

namespace llorch {

struct Call {
  Service& service;
  net::Exchange& exchange;
  std::string correlation_id;
  ErrorShape errors = ErrorShape::ours;
  std::string job_id = {};  // echoed as x-request-id once known
};

// X-Correlation-Id, x-request-id and the type of the body.
net::Headers reply_headers(const Call& call, std::string_view content_type);

// The client may be gone by then: what becomes of the write is the server's matter.
Task<void> reply_json(const Call& call, unsigned status, std::string body);
Task<void> reply_text(const Call& call, std::string_view content_type, std::string body);
Task<void> reply_error(const Call& call, const Error& error);
// The same with a status that no Code has (405), and further headers.
Task<void> reply_error(const Call& call, const Error& error, unsigned status,
                       const net::Headers& more);

}  // namespace llorch
