#include "orchestrator/decision_text.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "orchestrator/core/worker.h"
#include "protocol/json_parse.h"
#include "protocol/json_text.h"

namespace llorch {
namespace {

namespace json = boost::json;

void append_candidate(std::string& out, const Candidate& candidate) {
  JsonObjectWriter(out)
      .string("worker_id", candidate.worker_id)
      .string("host", candidate.host)
      .string("backend", candidate.backend)
      .integer("slots_total", candidate.slots_total)
      .integer("slots_free", candidate.slots_free)
      .integer("queue_depth", candidate.queue_depth)
      .integer("cached_tokens", candidate.cached_tokens)
      .number("wait_ms", candidate.wait_ms)
      .number("displaced_ms", candidate.displaced_ms)
      .number("external_ms", candidate.external_ms)
      .number("prefill_ms", candidate.prefill_ms)
      .number("decode_ms", candidate.decode_ms)
      .number("cost_ms", candidate.cost_ms())
      .number("prefill_tokens_per_second", candidate.prefill_tokens_per_second)
      .number("decode_tokens_per_second", candidate.decode_tokens_per_second)
      .integer("memory_free_bytes", candidate.memory_free_bytes)
      .end();
}

void append_job(std::string& out, const DecisionJob& job) {
  JsonObjectWriter(out)
      .string("model", job.model)
      .string("priority", wire_name(job.priority))
      .string("tenant", job.tenant)
      .string("session_id", job.session_id)
      .integer("prompt_tokens_estimate", job.prompt_tokens_estimate)
      .integer("max_tokens", job.max_tokens)
      .number("temperature", job.temperature)
      .end();
}

void append_failed(JsonObjectWriter& row, const FailedTry& failed, bool again) {
  row.boolean("retry", again).integer("tries", failed.tries);
  JsonObjectWriter(row.key("error"))
      .string("kind", failed.kind)
      .string("code", failed.code)
      .string("message", failed.message)
      .end();
}

// Those that are kept, in the order in which they were offered.
std::vector<const Candidate*> kept(const Decision& decision) {
  std::vector<const Candidate*> all;
  for (const auto& candidate : decision.candidates) all.push_back(&candidate);
  if (all.size() <= limits::decision_candidates_max) return all;
  std::ranges::sort(all, {}, [&](const Candidate* candidate) {
    const bool chosen = candidate->worker_id == decision.worker_id;
    return std::pair(!chosen, candidate->cost_ms());
  });
  all.resize(limits::decision_candidates_max);
  std::ranges::sort(all);  // neighbours in one vector
  return all;
}

void read(const json::object& from, const char* name, std::string& into) {
  const auto* const value = from.if_contains(name);
  if (value != nullptr && value->is_string()) into = std::string(value->get_string());
}
template <class Number>
void read(const json::object& from, const char* name, Number& into) {
  const auto* const value = from.if_contains(name);
  if (value == nullptr) return;
  boost::system::error_code wrong;
  const auto number = value->to_number<Number>(wrong);
  if (!wrong) into = number;
}

RecordedWorker worker_in(const json::object& candidate, const std::string& model) {
  RecordedWorker worker;
  worker.model = model;
  worker.status = wire_name(WorkerStatus::healthy);
  read(candidate, "worker_id", worker.id);
  read(candidate, "host", worker.host);
  read(candidate, "backend", worker.backend);
  read(candidate, "slots_total", worker.slots_total);
  read(candidate, "slots_free", worker.slots_free);
  read(candidate, "queue_depth", worker.queue_depth);
  read(candidate, "cached_tokens", worker.cached_tokens);
  read(candidate, "cost_ms", worker.cost_ms);
  read(candidate, "prefill_tokens_per_second", worker.prefill_tokens_per_second);
  read(candidate, "decode_tokens_per_second", worker.decode_tokens_per_second);
  read(candidate, "memory_free_bytes", worker.memory_free_bytes);
  return worker;
}

RecordedJob job_in(const json::object& job) {
  RecordedJob record;
  std::string priority;
  read(job, "model", record.model);
  read(job, "priority", priority);
  read(job, "tenant", record.tenant);
  read(job, "session_id", record.session_id);
  read(job, "prompt_tokens_estimate", record.prompt_tokens_estimate);
  read(job, "max_tokens", record.max_tokens);
  read(job, "temperature", record.temperature);
  record.priority = priority_from_wire(priority).value_or(Priority::interactive);
  return record;
}

std::optional<FailedTry> failed_in(const json::object& text) {
  const auto* const error = text.if_contains("error");
  if (error == nullptr || !error->is_object()) return std::nullopt;
  FailedTry failed;
  read(error->get_object(), "kind", failed.kind);
  read(error->get_object(), "code", failed.code);
  read(error->get_object(), "message", failed.message);
  read(text, "tries", failed.tries);
  return failed;
}

}  // namespace

std::string decision_text(const Decision& decision) {
  const auto candidates = kept(decision);
  constexpr std::size_t usual_bytes = 1'024;
  std::string out;
  out.reserve(usual_bytes);
  JsonObjectWriter row(out);
  row.integer("attempt", decision.attempt).integer("waited_ms", decision.waited_ms);
  if (!decision.worker_id.empty()) row.string("worker_id", decision.worker_id);
  if (!decision.decided_by.empty()) row.string("decided_by", decision.decided_by);
  if (!decision.reason.empty()) row.string("reason", decision.reason);
  if (decision.queue_depth) row.integer("queue_depth", *decision.queue_depth);
  if (decision.failed) {
    append_failed(row, *decision.failed, decision.kind == Decision::Kind::retried);
  }
  append_job(row.key("job"), decision.of);
  append_json_list(row.key("candidates"), candidates,
                   [&](const Candidate* candidate) { append_candidate(out, *candidate); });
  if (candidates.size() < decision.candidates.size()) {
    row.integer("candidates_left_out",
                static_cast<std::int64_t>(decision.candidates.size() - candidates.size()));
  }
  row.end();
  return out;
}

std::optional<DecisionRecord> record_of(const StoredDecision& stored) {
  const auto text = parse_json_object(stored.json, limits::decision_bytes_max);
  if (!text) return std::nullopt;
  const auto* const job = text->if_contains("job");
  const auto* const candidates = text->if_contains("candidates");
  if (job == nullptr || !job->is_object()) return std::nullopt;
  if (candidates == nullptr || !candidates->is_array()) return std::nullopt;
  DecisionRecord record;
  record.at_ms = stored.at_ms;
  record.job = job_in(job->get_object());
  record.job.id = stored.job_id.value;
  record.job.attempt = stored.attempt;
  read(*text, "waited_ms", record.job.age_ms);
  for (const auto& candidate : candidates->get_array()) {
    if (!candidate.is_object()) return std::nullopt;
    record.workers.push_back(worker_in(candidate.get_object(), record.job.model));
  }
  read(*text, "worker_id", record.worker_id);
  read(*text, "reason", record.reason);
  read(*text, "decided_by", record.decided_by);
  if (text->contains("queue_depth")) read(*text, "queue_depth", record.queue_depth.emplace());
  record.failed = failed_in(*text);
  // One that waits is asked again and again, and not kept.
  if (record.failed) {
    const auto* const again = text->if_contains("retry");
    record.kind = again != nullptr && again->is_bool() && again->get_bool()
                      ? DecisionRecord::Kind::retry
                      : DecisionRecord::Kind::give_up;
  } else if (record.worker_id.empty()) {
    record.kind = DecisionRecord::Kind::reject;
  }
  return record;
}

}  // namespace llorch
