// One request on its way through a route of the orchestrator, and how routes answer.
// Threads: the io thread. Lifetime: that of the request's coroutine.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "api/reply.h"
#include "net/server.h"
#include "orchestrator/keys/identity.h"
#include "orchestrator/service.h"

namespace llorch {

struct Call {
  Orchestrator& service;
  net::Exchange& exchange;
  std::string correlation_id;
  ErrorShape errors = ErrorShape::ours;
  std::string id = {};      // the {} of the route's path, percent-decoded
  std::string job_id = {};  // echoed as x-request-id once known
  Identity identity = {};
  net::Headers shared_headers = {};  // of every reply: what browsers want to see
};

// A job that the caller may see. Null: unknown, or another tenant's.
Task<std::shared_ptr<JobRecord>> own_job(Call& call, const JobId& id);
// The same without its frames.
Task<std::shared_ptr<JobRecord>> own_row(Call& call, const JobId& id);

net::Headers with_shared(const Call& call, net::Headers headers);
// The request's body; the request holds it no longer.
std::shared_ptr<std::string> taken_body(Call& call);

Task<void> reply_json(const Call& call, unsigned status, std::string body);
Task<void> reply_with(const Call& call, net::HttpResponse response);
Task<void> reply_error(const Call& call, const Error& error);

}  // namespace llorch
