// What orchestratord says of itself: health, readiness, version.
#include <utility>

#include "base/version.h"
#include "orchestrator/routes.h"
#include "protocol/json_text.h"

namespace llorch {

Task<void> health_route(Call& call) {
  const auto& core = call.service.core();
  std::string body;
  JsonObjectWriter(body)
      .string("status", call.service.draining() ? "draining" : "healthy")
      .integer("workers", static_cast<std::int64_t>(core.workers().size()))
      .integer("queue_depth", static_cast<std::int64_t>(core.queued(Priority::interactive) +
                                                        core.queued(Priority::batch)))
      .integer("jobs", static_cast<std::int64_t>(core.jobs_live()))
      .integer("uptime_seconds", call.service.now_ms() / 1'000)
      .end();
  co_await reply_json(call, 200, std::move(body));
}

// Ready once a job could be placed.
Task<void> ready_route(Call& call) {
  std::size_t healthy = 0;
  for (const auto& [id, worker] : call.service.core().workers()) {
    if (worker.status == WorkerStatus::healthy && !worker.draining) ++healthy;
  }
  const bool ready = healthy > 0 && !call.service.draining();
  std::string body;
  JsonObjectWriter(body)
      .boolean("ready", ready)
      .integer("workers_healthy", static_cast<std::int64_t>(healthy))
      .end();
  co_await reply_json(call, ready ? 200 : 503, std::move(body));
}

Task<void> version_route(Call& call) {
  std::string body;
  JsonObjectWriter(body).string("name", "orchestratord").string("version", version()).end();
  co_await reply_json(call, 200, std::move(body));
}

}  // namespace llorch
