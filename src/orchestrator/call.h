// One request on its way through a route of the orchestrator, and how routes answer.
// Threads: the io thread. Lifetime: that of the request's coroutine.
#pragma once

#include <string>
#include <string_view>

#include "api/reply.h"
#include "net/server.h"
#include "orchestrator/service.h"

namespace llorch {

struct Call {
  Orchestrator& service;
  net::Exchange& exchange;
  std::string correlation_id;
  ErrorShape errors = ErrorShape::ours;
  std::string id = {};      // the {} of the route's path, percent-decoded
  std::string job_id = {};  // echoed as x-request-id once known
};

Task<void> reply_json(const Call& call, unsigned status, std::string body);
Task<void> reply_with(const Call& call, net::HttpResponse response);
Task<void> reply_error(const Call& call, const Error& error);

}  // namespace llorch
