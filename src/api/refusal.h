// The reply to a request that no route answers: bad framing, a limit, a handler that threw.
// Threads: any. Pure.
#pragma once

#include <string_view>

#include "net/server.h"

namespace llorch {

// Whether errors of this path, known or not, take OpenAI's shape.
bool is_openai_path(std::string_view path);

// For net::ServerOptions::refusal of every daemon.
net::HttpResponse refusal_response(const net::RefusedRequest& refused);

}  // namespace llorch
