#include "orchestrator/texts.h"

#include <vector>

#include "protocol/error_body.h"
#include "protocol/job_stream.h"
#include "protocol/json_text.h"
#include "protocol/sse.h"

namespace llorch {
namespace {

std::string_view kind_name(JobKind kind) {
  switch (kind) {
    case JobKind::task:
      return "task";
    case JobKind::chat:
      return "chat.completion";
    case JobKind::completions:
      return "completion";
    case JobKind::embeddings:
      return "embedding";
  }
  return "task";
}

void append_time(JsonObjectWriter& row, std::string_view name,
                 const std::optional<WallTime>& time) {
  if (time) row.string(name, rfc3339(*time));
}

// What is not known is left out: a restart forgets when a first token came.
void append_span(JsonObjectWriter& row, std::string_view name, const std::optional<WallTime>& from,
                 const std::optional<WallTime>& to) {
  if (!from || !to) return;
  row.number(name, std::chrono::duration<double, std::milli>(*to - *from).count());
}

void append_error(JsonObjectWriter& row, const JobRecord& job) {
  const auto* const error = job.error();
  if (error == nullptr) return;
  JsonObjectWriter(row.key("error"))
      .string("code", wire_name(client_code(error->code)))
      .string("message", error->message)
      .boolean("retriable", is_retriable(error->code))
      .end();
}

void append_job(std::string& out, const Orchestrator& service, const JobRecord& job) {
  JsonObjectWriter row(out);
  row.string("job_id", job.id.value)
      .string("kind", kind_name(job.kind))
      .string("status", wire_name(job.status))
      .string("model", job.model)
      .string("priority", wire_name(job.priority))
      .integer("attempt", job.attempt)
      .integer("tokens_out", job.tokens_out())
      .integer("prompt_tokens", job.prompt_tokens)
      .integer("cached_tokens", job.cached_tokens)
      .string("correlation_id", job.correlation_id);
  if (!job.tenant.empty()) row.string("tenant", job.tenant);
  if (!job.worker_id.empty()) row.string("worker_id", job.worker_id);
  append_time(row, "accepted_at", job.accepted_wall);
  append_time(row, "dispatched_at", job.dispatched_wall);
  append_time(row, "first_token_at", job.first_token_wall);
  append_time(row, "ended_at", job.ended_wall);
  if (job.status == JobStatus::queued) {
    if (const auto view = service.core().job(job.id, service.now_ms())) {
      row.integer("queue_position", view->queue_position)
          .integer("predicted_start_ms", view->predicted_start_ms);
    }
  }
  if (job.end && job.status != JobStatus::failed) {
    row.string("stop_reason", wire_name(job.end->stop_reason));
  }
  append_error(row, job);
  row.end();
}

void append_worker(std::string& out, const Orchestrator& service, const WorkerState& worker) {
  const auto& told = worker.registration;
  JsonObjectWriter row(out);
  row.string("worker_id", told.worker_id)
      .string("status", wire_name(worker.status))
      .boolean("draining", worker.draining)
      .string("host", told.host)
      .integer("port", told.port)
      .string("pool_host", told.pool_host)
      .string("model", told.model)
      .string("backend", told.backend)
      .integer("slots_total", told.slots_total)
      .integer("slots_busy", worker.external ? worker.outstanding : worker.beat.slots_busy)
      .integer("jobs", worker.outstanding)
      .integer("queue_depth", worker.beat.queue_depth)
      .integer("context_tokens", told.context_tokens)
      .integer("memory_free_bytes", worker.beat.memory_free_bytes)
      .number("prefill_tokens_per_second", worker.beat.prefill_tokens_per_second)
      .number("decode_tokens_per_second", worker.beat.decode_tokens_per_second)
      .string("version", told.version)
      .integer("heard_ms_ago", service.now_ms() - worker.heard_at_ms);
  if (worker.external) row.boolean("external", true).boolean("fallback", worker.fallback);
  row.end();
}

}  // namespace

std::string job_text(const Orchestrator& service, const JobRecord& job) {
  std::string out;
  append_job(out, service, job);
  return out;
}

std::string jobs_text(const Orchestrator& service, const TaskPage& page) {
  std::string out;
  JsonObjectWriter row(out);
  append_json_list(row.key("jobs"), page.jobs,
                   [&](const auto& job) { append_job(out, service, *job); });
  if (page.next) row.string("next_cursor", cursor_of(*page.next));
  row.end();
  return out;
}

std::string worker_text(const Orchestrator& service, const std::string& id) {
  std::string out;
  append_worker(out, service, service.core().workers().at(id));
  return out;
}

std::string workers_text(const Orchestrator& service) {
  std::string out;
  JsonObjectWriter row(out);
  append_json_list(row.key("workers"), service.core().workers(),
                   [&](const auto& entry) { append_worker(out, service, entry.second); });
  row.end();
  return out;
}

std::string explain_text(const Orchestrator& service, const JobRecord& job,
                         const std::vector<std::string>& decisions) {
  std::string out;
  JsonObjectWriter row(out);
  append_job(row.key("job"), service, job);
  JsonObjectWriter times(row.key("times_ms"));
  append_span(times, "waited", job.accepted_wall, job.dispatched_wall);
  append_span(times, "to_first_token", job.dispatched_wall, job.first_token_wall);
  append_span(times, "decode", job.first_token_wall, job.ended_wall);
  if (job.client_stalled_ms > 0) times.number("client_stalled", job.client_stalled_ms);
  times.integer("prefill_tokens_cached", job.cached_tokens)
      .integer("prefill_tokens_computed", job.prompt_tokens - job.cached_tokens)
      .end();
  append_json_list(row.key("decisions"), decisions,
                   [&](const std::string& decision) { out += decision; });
  row.end();
  return out;
}

std::string queued_frame(const Orchestrator& service, const JobRecord& job) {
  std::string data;
  JsonObjectWriter row(data);
  row.string("type", "queued").string("job_id", job.id.value);
  const auto view = service.core().job(job.id, service.now_ms());
  if (view && job.status == JobStatus::queued) {
    row.integer("queue_position", view->queue_position)
        .integer("predicted_start_ms", view->predicted_start_ms);
  }
  row.end();
  std::string frame;
  append_sse_frame(frame, "0", "queued", data);
  return frame;
}

std::string queued_comment(const Orchestrator& service, const JobRecord& job) {
  if (job.status != JobStatus::queued) return {};
  const auto view = service.core().job(job.id, service.now_ms());
  if (!view) return {};
  return ": queued position=" + std::to_string(view->queue_position) +
         " eta_ms=" + std::to_string(view->predicted_start_ms) + "\n\n";
}

}  // namespace llorch
