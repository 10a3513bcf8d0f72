// Answers every request of a worker: finds its route, checks the caller, runs the route.
// Threads: the io thread.
#pragma once

#include "net/server.h"
#include "protocol/openai_request.h"
#include "worker/call.h"
#include "worker/service.h"

namespace llorch {

// The server's handler.
Task<void> serve_request(Service& service, net::Exchange& exchange);

// The routes, by file: execute_route.cpp, openai_routes.cpp, status_routes.cpp.
Task<void> execute_route(Call& call);
Task<void> generate_route(Call& call, OpenAiRoute route);
Task<void> embeddings_route(Call& call);
Task<void> models_route(Call& call);
Task<void> model_route(Call& call);
Task<void> tokenize_route(Call& call);
Task<void> detokenize_route(Call& call);
Task<void> cancel_route(Call& call);
Task<void> health_route(Call& call);
Task<void> ready_route(Call& call);
Task<void> metrics_route(Call& call);
Task<void> shutdown_route(Call& call);

}  // namespace llorch
