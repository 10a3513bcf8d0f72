// What every reply of a daemon has: its headers, and errors with the status of their code.
// Threads: any. Pure.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "net/http_types.h"
#include "protocol/error_body.h"

namespace llorch {

// The type of the body, X-Correlation-Id, and x-request-id: the job's id once there is one.
net::Headers reply_headers(std::string_view content_type, const std::string& correlation_id,
                           const std::string& job_id);
// The reply to an error. `job_id` is empty until there is one.
net::HttpResponse error_response(const Error& error, const std::string& correlation_id,
                                 const std::string& job_id, ErrorShape errors);

}  // namespace llorch
