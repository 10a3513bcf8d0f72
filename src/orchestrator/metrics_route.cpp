// GET /metrics: what orchestratord counts, and each worker's figures from its heartbeats. No job's
// id is ever a label.
#include <array>
#include <functional>
#include <utility>

#include "orchestrator/routes.h"
#include "protocol/metrics_text.h"

namespace llorch {
namespace {

void append_jobs(MetricsText& text, const Orchestrator& service) {
  const auto& figures = service.figures();
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
  text.counter("orchd_tasks_ended_total", "admitted jobs by how they ended");
  for (const auto& [outcome, count] : figures.ended) {
    text.sample(static_cast<double>(count), {{"outcome", outcome}});
  }
  text.gauge("orchd_active_streams", "jobs that are running");
  text.sample(static_cast<double>(service.streams_active()));
  text.counter("orchd_cancel_requests_total", "cancels by reason");
  for (const auto& [reason, count] : figures.cancels) {
    text.sample(static_cast<double>(count), {{"reason", reason}});
  }
  text.histogram("orchd_scheduling_latency_ms", "from acceptance to the first worker",
                 figures.scheduling_ms);
  text.histogram("orchd_ttft_ms", "from acceptance to the first token", figures.ttft_ms);
  text.histogram("orchd_itl_ms", "between two writes of tokens of one job", figures.itl_ms);
}

void append_policy(MetricsText& text, Orchestrator& service) {
  text.counter("orchd_policy_errors_total", "calls of the script that failed, by kind");
  if (service.policy_host() == nullptr) return;
  const auto& counts = service.policy_host()->counts();
  for (std::size_t index = 0; index < policy_error_kinds; ++index) {
    const auto kind = static_cast<PolicyErrorKind>(index);
    text.sample(static_cast<double>(counts.of(kind)), {{"kind", wire_name(kind)}});
  }
}

struct WorkerGauge {
  const char* name;
  const char* help;
  double (*value)(const WorkerState& worker, Millis now);
};

constexpr std::array worker_gauges = {
    WorkerGauge{"orchd_worker_healthy", "1: it may be given work",
                [](const WorkerState& worker, Millis) {
                  return worker.status == WorkerStatus::healthy ? 1.0 : 0.0;
                }},
    WorkerGauge{"orchd_worker_draining", "1: it is given no new work",
                [](const WorkerState& worker, Millis) { return worker.draining ? 1.0 : 0.0; }},
    WorkerGauge{
        "orchd_worker_heard_ms_ago", "since its last sign of life",
        [](const WorkerState& worker, Millis now) { return double(now - worker.heard_at_ms); }},
    WorkerGauge{"orchd_worker_jobs", "jobs that were given to it and have not ended",
                [](const WorkerState& worker, Millis) { return double(worker.outstanding); }},
    WorkerGauge{
        "orchd_worker_slots_total", "jobs that it runs at once",
        [](const WorkerState& worker, Millis) { return double(worker.registration.slots_total); }},
    WorkerGauge{"orchd_worker_slots_busy", "jobs that it runs, as it says",
                [](const WorkerState& worker, Millis) { return double(worker.beat.slots_busy); }},
    WorkerGauge{"orchd_worker_queue_depth", "jobs that wait at it, as it says",
                [](const WorkerState& worker, Millis) { return double(worker.beat.queue_depth); }},
    WorkerGauge{
        "orchd_worker_prefill_tokens_per_second", "as it says",
        [](const WorkerState& worker, Millis) { return worker.beat.prefill_tokens_per_second; }},
    WorkerGauge{
        "orchd_worker_decode_tokens_per_second", "as it says, all its jobs together",
        [](const WorkerState& worker, Millis) { return worker.beat.decode_tokens_per_second; }},
    WorkerGauge{
        "orchd_worker_memory_free_bytes", "as it says",
        [](const WorkerState& worker, Millis) { return double(worker.beat.memory_free_bytes); }},
};

void append_workers(MetricsText& text, const Orchestrator& service) {
  const auto now = service.now_ms();
  for (const auto& gauge : worker_gauges) {
    text.gauge(gauge.name, gauge.help);
    for (const auto& [id, worker] : service.core().workers()) {
      const auto& told = worker.registration;
      text.sample(gauge.value(worker, now), {{"worker_id", id},
                                             {"pool", told.pool_host},
                                             {"model", told.model},
                                             {"backend", told.backend}});
    }
  }
}

}  // namespace

Task<void> metrics_route(Call& call) {
  MetricsText text;
  append_jobs(text, call.service);
  append_policy(text, call.service);
  append_workers(text, call.service);
  net::HttpResponse response;
  response.status = 200;
  response.headers = reply_headers("text/plain; version=0.0.4", call.correlation_id, {});
  response.body = text.text();
  co_await reply_with(call, std::move(response));
}

}  // namespace llorch
