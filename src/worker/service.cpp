#include "worker/service.h"

#include <utility>

#include "base/limits.h"

namespace llorch {
namespace {

std::size_t live_max(const ModelCard& card, const WorkerOptions& options) {
  return static_cast<std::size_t>(card.slots_total + options.queue);
}

Result<Service::Place> place_among(std::size_t& count, std::size_t most, const char* refusal) {
  if (count < most) return Service::Place(count);
  return fail(
      Error{.code = Code::queue_full, .message = refusal, .retry_after_ms = limits::full_retry_ms});
}

void kv_disk_metrics(MetricsText& text, const KvDiskLoad& disk) {
  const auto number = [](auto value) { return static_cast<double>(value); };
  text.gauge("worker_kv_disk_bytes", "KV cells kept in --kv-dir, of all workers that share it")
      .sample(number(disk.bytes));
  text.gauge("worker_kv_disk_files", "Files of them").sample(number(disk.files));
  text.counter("worker_kv_disk_writes_total", "Snapshots for --kv-dir by what became of them")
      .sample(number(disk.writes_total), {{"outcome", "written"}})
      .sample(number(disk.writes_dropped_total), {{"outcome", "dropped"}})
      .sample(number(disk.writes_failed_total), {{"outcome", "failed"}});
  text.counter("worker_kv_disk_reads_total", "Snapshots asked of --kv-dir")
      .sample(number(disk.reads_total));
  text.counter("worker_kv_disk_restores_total", "Jobs that began with cells from --kv-dir")
      .sample(number(disk.restored_total));
  text.counter("worker_kv_disk_rejected_total", "Files of --kv-dir that could not be used")
      .sample(number(disk.rejected_total));
}

}  // namespace

Service::Service(const WorkerOptions& options, const Clock& clock)
    : options_(options),
      clock_(clock),
      started_(clock.now()),
      started_wall_(clock.wall()),
      jobs_(clock, [this](const LiveRun& run) {
        if (engine_) engine_->cancel(run.outbox);
      }) {
  using enum JobOutcome;
  for (const auto outcome : {completed, cancelled, failed, rejected}) outcomes_[outcome] = 0;
}

Service::~Service() {
  decoder_.join();
}

void Service::loaded(std::unique_ptr<Engine> engine) {
  engine_ = std::move(engine);
  jobs_.set_capacity(live_max(engine_->card(), options_));
  if (phase_ == Phase::loading) phase_ = Phase::serving;
}

Result<Engine*> Service::accepting() const {
  if (phase_ == Phase::serving) return engine_.get();
  Error error{.code = Code::draining, .message = "this worker is shutting down"};
  if (phase_ == Phase::loading) {
    error.message = "the model is still loading; GET /ready shows how far it is";
    error.retry_after_ms = 1'000;
  }
  return fail(std::move(error));
}

Result<Service::Place> Service::admit_side() {
  return place_among(side_, limits::side_requests_max, "too many embedding and token requests");
}

Result<Service::Place> Service::admit_decode() {
  return place_among(decoding_, limits::decode_waiting_max, "too many large requests at once");
}

EngineLoad Service::load() const {
  return engine_ ? engine_->load() : EngineLoad{};
}

const EngineLoad& Service::recent_load() {
  constexpr auto age_max = std::chrono::milliseconds(100);
  const auto now = clock_.now();
  if (now - recent_at_ >= age_max) {
    recent_ = load();
    recent_at_ = now;
  }
  return recent_;
}

Health Service::health() const {
  constexpr int backend_failures_max = 3;
  const auto now = load();
  Health health;
  health.status = phase_ == Phase::draining                   ? Health::Status::draining
                  : backend_failures_ >= backend_failures_max ? Health::Status::unhealthy
                                                              : Health::Status::healthy;
  health.state = !engine_                                    ? Health::State::loading
                 : now.slots_busy > 0 || now.queue_depth > 0 ? Health::State::busy
                                                             : Health::State::idle;
  health.worker_id = options_.worker_id;
  health.model = options_.model_id;
  health.backend = options_.engine.backend;
  health.slots_busy = now.slots_busy;
  health.queue_depth = now.queue_depth;
  health.uptime_seconds =
      std::chrono::duration_cast<std::chrono::seconds>(clock_.now() - started_).count();
  if (const auto* known = card()) {
    health.slots_total = known->slots_total;
    health.memory_bytes = known->memory_bytes;
    health.context_tokens = known->context_tokens;
  }
  return health;
}

Readiness Service::readiness() const {
  switch (phase_) {
    case Phase::loading:
      return {.ready = false, .state = "loading", .progress = progress_};
    case Phase::draining:
      return {.ready = false, .state = "draining", .progress = 1};
    case Phase::serving:
      break;
  }
  return {.ready = true, .state = "ready", .progress = 1};
}

std::string Service::metrics() const {
  const auto now = load();
  const auto* known = card();
  const auto number = [](auto value) { return static_cast<double>(value); };
  MetricsText text;
  text.counter("worker_requests_total", "Generation requests by how they ended");
  for (const auto& [outcome, count] : outcomes_) {
    text.sample(number(count), {{"outcome", wire_name(outcome)}});
  }
  text.counter("worker_tokens_in_total", "Prompt tokens computed")
      .sample(number(now.tokens_in_total));
  text.counter("worker_tokens_generated_total", "Tokens generated")
      .sample(number(now.tokens_out_total));
  text.histogram("worker_inference_duration_ms", "Request accepted to last event", duration_ms_);
  text.gauge("worker_memory_bytes", "Weights, KV cache and compute buffers")
      .sample(number(known ? known->memory_bytes : 0));
  text.gauge("worker_uptime_seconds", "Since the start of the process")
      .sample(elapsed_ms(started_, clock_.now()) / 1'000);
  text.gauge("worker_kv_cells_used", "Occupied cells of the KV cache")
      .sample(number(now.kv_cells_used));
  text.gauge("worker_kv_snapshot_bytes", "Memory of KV cells kept beside the context")
      .sample(number(now.kv_snapshot_bytes));
  kv_disk_metrics(text, now.kv_disk);
  text.counter("worker_prefix_hit_tokens_total", "Prompt tokens taken from the prefix cache")
      .sample(number(now.prefix_hit_tokens_total));
  text.counter("worker_draft_tokens_total", "Tokens guessed and checked in one step")
      .sample(number(now.draft_tokens_total));
  text.counter("worker_draft_hit_tokens_total", "Guessed tokens that were right")
      .sample(number(now.draft_hit_tokens_total));
  text.counter("worker_engine_seconds_total", "Where the engine's time went")
      .sample(now.prefill_ms_total / 1'000, {{"part", "prefill"}})
      .sample(now.decode_ms_total / 1'000, {{"part", "decode"}})
      .sample(now.sampling_ms_total / 1'000, {{"part", "sampling"}})
      .sample(now.waiting_ms_total / 1'000, {{"part", "waiting"}});
  text.gauge("worker_slots_busy", "Slots that compute a job").sample(number(now.slots_busy));
  text.gauge("worker_queue_depth", "Accepted jobs without a slot").sample(number(now.queue_depth));
  return text.text();
}

void Service::count(JobOutcome outcome, double duration_ms) {
  ++outcomes_[outcome];
  if (outcome != JobOutcome::rejected) duration_ms_.observe(duration_ms);
}

std::string_view wire_name(JobOutcome outcome) {
  switch (outcome) {
    case JobOutcome::completed:
      return "completed";
    case JobOutcome::cancelled:
      return "cancelled";
    case JobOutcome::failed:
      return "failed";
    case JobOutcome::rejected:
      return "rejected";
  }
  return "failed";
}

}  // namespace llorch
