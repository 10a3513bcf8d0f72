// What orchestratord says of itself: health, readiness, metrics, version.
#include <utility>

#include "base/version.h"
#include "orchestrator/routes.h"
#include "protocol/json_text.h"
#include "protocol/metrics_text.h"

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

Task<void> metrics_route(Call& call) {
  const auto& service = call.service;
  const auto& figures = service.figures();
  MetricsText text;
  text.gauge("orchd_queue_depth", "jobs that wait");
  for (const auto priority : {Priority::interactive, Priority::batch}) {
    text.sample(static_cast<double>(service.core().queued(priority)),
                {{"priority", wire_name(priority)}});
  }
  text.counter("orchd_tasks_enqueued_total", "jobs by what became of their admission");
  for (const auto& [outcome, count] : figures.enqueued) {
    text.sample(static_cast<double>(count), {{"outcome", outcome}});
  }
  text.counter("orchd_tasks_dispatched_total", "attempts and their outcomes");
  for (const auto& [key, count] : figures.dispatched) {
    text.sample(static_cast<double>(count), {{"worker_id", key.first}, {"outcome", key.second}});
  }
  text.gauge("orchd_active_streams", "jobs that are running");
  text.sample(static_cast<double>(service.streams_active()));
  text.counter("orchd_cancel_requests_total", "cancels by reason");
  for (const auto& [reason, count] : figures.cancels) {
    text.sample(static_cast<double>(count), {{"reason", reason}});
  }
  net::HttpResponse response;
  response.status = 200;
  response.headers = reply_headers("text/plain; version=0.0.4", call.correlation_id, {});
  response.body = text.text();
  co_await reply_with(call, std::move(response));
}

Task<void> version_route(Call& call) {
  std::string body;
  JsonObjectWriter(body).string("name", "orchestratord").string("version", version()).end();
  co_await reply_json(call, 200, std::move(body));
}

}  // namespace llorch
