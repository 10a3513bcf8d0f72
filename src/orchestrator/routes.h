// Answers every request of the orchestrator: finds its route, checks the caller, runs the route.
// Threads: the io thread.
#pragma once

#include <span>

#include "orchestrator/call.h"

namespace llorch {

struct Route {
  std::string_view method;
  std::string_view path;  // "{}" stands for one segment
  Role role;              // whose keys it takes, once keys are on
  Task<void> (*run)(Call&);
};
std::span<const Route> orchestrator_routes();

// The server's handler.
Task<void> serve_request(Orchestrator& service, net::Exchange& exchange);

// By file: task_routes.cpp, task_events.cpp, openai_routes.cpp, worker_routes.cpp,
// policy_routes.cpp, replay_route.cpp, key_routes.cpp, status_routes.cpp, metrics_route.cpp,
// usage_routes.cpp.
Task<void> submit_task_route(Call& call);
Task<void> list_tasks_route(Call& call);
Task<void> task_route(Call& call);
Task<void> task_events_route(Call& call);
Task<void> cancel_task_route(Call& call);
Task<void> cancel_route(Call& call);
Task<void> explain_route(Call& call);
Task<void> chat_route(Call& call);
Task<void> completions_route(Call& call);
Task<void> embeddings_route(Call& call);
Task<void> models_route(Call& call);
Task<void> model_route(Call& call);
Task<void> register_route(Call& call);
Task<void> heartbeat_route(Call& call);
Task<void> list_workers_route(Call& call);
Task<void> worker_route(Call& call);
Task<void> delete_worker_route(Call& call);
Task<void> drain_worker_route(Call& call);
Task<void> policy_route(Call& call);
Task<void> validate_policy_route(Call& call);
Task<void> deploy_policy_route(Call& call);
Task<void> rollback_policy_route(Call& call);
Task<void> add_key_route(Call& call);
Task<void> list_keys_route(Call& call);
Task<void> revoke_key_route(Call& call);
Task<void> rotate_key_route(Call& call);
Task<void> replay_policy_route(Call& call);
Task<void> usage_route(Call& call);
Task<void> health_route(Call& call);
Task<void> ready_route(Call& call);
Task<void> metrics_route(Call& call);
Task<void> version_route(Call& call);

}  // namespace llorch
