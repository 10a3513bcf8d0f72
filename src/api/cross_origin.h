// What browsers ask for before pages of another origin may call this daemon, and read its replies.
// Source: the Fetch standard, "CORS protocol". Threads: any. Pure.
#pragma once

#include <optional>

#include "api/auth.h"
#include "net/http_types.h"

namespace llorch {

// For every reply to this request; empty when its origin is not allowed, or it names none.
net::Headers cross_origin_headers(const AllowedNames& names, const net::HttpRequest& request);

// The reply to the question that comes before a request, without a key: browsers send none.
// nullopt: it is no such question, or its origin is not allowed.
std::optional<net::HttpResponse> preflight_response(const AllowedNames& names,
                                                    const net::HttpRequest& request);

}  // namespace llorch
