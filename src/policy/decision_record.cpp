#include "policy/decision_record.h"

#include <cassert>
#include <limits>

#include "base/limits.h"

namespace llorch {
namespace {

constexpr std::uint64_t whole_max = std::numeric_limits<std::int64_t>::max();
constexpr std::uint64_t small_max = std::numeric_limits<std::int32_t>::max();
constexpr NumberRange not_negative{.min = 0, .max = 1e18};

void read(FieldReader& fields, const char* name, std::string& into) {
  if (auto text = fields.text(name, record_text)) into = std::move(*text);
}
template <class Whole>
void read(FieldReader& fields, const char* name, Whole& into, std::uint64_t max) {
  if (const auto value = fields.integer(name, 0, max)) into = static_cast<Whole>(*value);
}
void read(FieldReader& fields, const char* name, double& into) {
  if (const auto value = fields.number(name, not_negative)) into = *value;
}

}  // namespace

PolicyJob view_of(const RecordedJob& job) {
  return {.id = job.id,
          .model = job.model,
          .priority = job.priority,
          .tenant = job.tenant,
          .session_id = job.session_id,
          .prompt_tokens_estimate = job.prompt_tokens_estimate,
          .max_tokens = job.max_tokens,
          .temperature = job.temperature,
          .age_ms = job.age_ms,
          .attempt = job.attempt};
}

PolicyWorker view_of(const RecordedWorker& worker) {
  return {.id = worker.id,
          .host = worker.host,
          .model = worker.model,
          .backend = worker.backend,
          .status = worker.status,
          .slots_total = worker.slots_total,
          .slots_free = worker.slots_free,
          .queue_depth = worker.queue_depth,
          .cached_tokens = worker.cached_tokens,
          .cost_ms = worker.cost_ms,
          .prefill_tokens_per_second = worker.prefill_tokens_per_second,
          .decode_tokens_per_second = worker.decode_tokens_per_second,
          .memory_free_bytes = worker.memory_free_bytes};
}

PolicyError view_of(const FailedTry& failed) {
  return {.kind = failed.kind, .code = failed.code, .message = failed.message};
}

std::vector<PolicyWorker> views_of(std::span<const RecordedWorker> workers) {
  std::vector<PolicyWorker> views;
  views.reserve(workers.size());
  for (const auto& worker : workers) views.push_back(view_of(worker));
  return views;
}

DecisionRecord make_record(std::int64_t at_ms, const PolicyJob& job,
                           std::span<const PolicyWorker> workers, const Placement& placement) {
  DecisionRecord record{.at_ms = at_ms,
                        .job = {.id = std::string(job.id),
                                .model = std::string(job.model),
                                .tenant = std::string(job.tenant),
                                .session_id = std::string(job.session_id),
                                .priority = job.priority,
                                .prompt_tokens_estimate = job.prompt_tokens_estimate,
                                .max_tokens = job.max_tokens,
                                .temperature = job.temperature,
                                .age_ms = job.age_ms,
                                .attempt = job.attempt},
                        .decided_by = placement.decided_by};
  for (const auto& worker : workers) {
    record.workers.push_back({.id = std::string(worker.id),
                              .host = std::string(worker.host),
                              .model = std::string(worker.model),
                              .backend = std::string(worker.backend),
                              .status = std::string(worker.status),
                              .slots_total = worker.slots_total,
                              .slots_free = worker.slots_free,
                              .queue_depth = worker.queue_depth,
                              .cached_tokens = worker.cached_tokens,
                              .cost_ms = worker.cost_ms,
                              .prefill_tokens_per_second = worker.prefill_tokens_per_second,
                              .decode_tokens_per_second = worker.decode_tokens_per_second,
                              .memory_free_bytes = worker.memory_free_bytes});
  }
  switch (placement.kind) {
    case Placement::Kind::wait:
      record.kind = DecisionRecord::Kind::wait;
      break;
    case Placement::Kind::reject:
      record.kind = DecisionRecord::Kind::reject;
      record.reason = placement.reason;
      break;
    default:
      assert(placement.worker < workers.size());
      record.worker_id = workers[placement.worker].id;
  }
  return record;
}

RecordedJob read_job(FieldReader& fields) {
  RecordedJob job;
  std::string priority = "interactive";
  read(fields, "id", job.id);
  read(fields, "model", job.model);
  read(fields, "priority", priority);
  read(fields, "tenant", job.tenant);
  read(fields, "session_id", job.session_id);
  read(fields, "prompt_tokens_estimate", job.prompt_tokens_estimate, whole_max);
  read(fields, "max_tokens", job.max_tokens, whole_max);
  read(fields, "temperature", job.temperature);
  read(fields, "age_ms", job.age_ms, whole_max);
  read(fields, "attempt", job.attempt, small_max);
  const auto known = priority_from_wire(priority);
  if (!known) {
    fields.add("priority", "interactive or batch", "must be interactive or batch");
  }
  job.priority = known.value_or(Priority::interactive);
  fields.refuse_others();
  return job;
}

RecordedWorker read_worker(FieldReader& fields) {
  RecordedWorker worker;
  read(fields, "id", worker.id);
  read(fields, "host", worker.host);
  read(fields, "model", worker.model);
  read(fields, "backend", worker.backend);
  read(fields, "status", worker.status);
  read(fields, "slots_total", worker.slots_total, small_max);
  read(fields, "slots_free", worker.slots_free, small_max);
  read(fields, "queue_depth", worker.queue_depth, whole_max);
  read(fields, "cached_tokens", worker.cached_tokens, whole_max);
  read(fields, "cost_ms", worker.cost_ms);
  read(fields, "prefill_tokens_per_second", worker.prefill_tokens_per_second);
  read(fields, "decode_tokens_per_second", worker.decode_tokens_per_second);
  read(fields, "memory_free_bytes", worker.memory_free_bytes, whole_max);
  fields.refuse_others();
  return worker;
}

std::vector<RecordedWorker> read_workers(FieldReader& parent, Violations& violations) {
  std::vector<RecordedWorker> workers;
  const auto* const list = parent.array("workers", limits::workers_max);
  if (list == nullptr) return workers;
  for (std::size_t i = 0; i < list->size(); ++i) {
    const auto path = parent.path("workers[" + std::to_string(i) + "]");
    const auto* const object = (*list)[i].if_object();
    if (object == nullptr) {
      violations.add(path, "object", path + " must be an object");
      continue;
    }
    FieldReader fields(*object, violations, path + ".");
    workers.push_back(read_worker(fields));
  }
  return workers;
}

}  // namespace llorch
