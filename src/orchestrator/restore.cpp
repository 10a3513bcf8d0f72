// What a restart finds, as the orchestrator's own values again.
#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "base/random.h"
#include "orchestrator/frame_event.h"
#include "orchestrator/journal.h"
#include "orchestrator/submission.h"
#include "protocol/job_stream.h"
#include "protocol/json_parse.h"
#include "protocol/task_request.h"

namespace llorch {
namespace {

JobKind kind_of(StoredJob::Route route) {
  return static_cast<JobKind>(route);
}
static_assert(static_cast<int>(StoredJob::Route::embeddings) ==
              static_cast<int>(JobKind::embeddings));

std::optional<WallTime> wall_time_if(const std::optional<std::int64_t>& ms) {
  return ms ? std::optional(wall_time(*ms)) : std::nullopt;
}

// What the frame says of the end of its job; nullopt: it is not the last one.
std::optional<JobEnd> end_in(std::string_view frame) {
  const auto event = event_in(frame);
  if (!event) return std::nullopt;
  if (const auto* const end = std::get_if<EndEvent>(&*event)) {
    const bool cancelled = end->stop_reason == StopReason::CANCELLED;
    return JobEnd{.status = cancelled ? JobStatus::cancelled : JobStatus::completed,
                  .error = {},
                  .stop_reason = end->stop_reason};
  }
  if (const auto* const error = std::get_if<ErrorEvent>(&*event)) {
    return JobEnd{.status = JobStatus::failed, .error = error->error, .stop_reason = {}};
  }
  return std::nullopt;
}

// The seed that the job's first worker was given, and told its reader.
std::optional<std::uint64_t> seed_in(std::string_view frame) {
  const auto event = event_in(frame);
  const auto* const started = event ? std::get_if<StartedEvent>(&*event) : nullptr;
  return started == nullptr ? std::nullopt : std::optional(started->seed);
}

Result<Restored::Task> restore_task(const Executor& executor, const Clock& clock,
                                    const StoredJob& stored, EventLog& log, Millis job_timeout_ms) {
  auto request = decode_task(stored.body);
  if (!request) return fail(request.error());
  Restored::Task task;
  task.job = record_of(executor, stored);
  const auto given = std::min(request->deadline_ms.value_or(job_timeout_ms), job_timeout_ms);
  task.spec = spec_of(*task.job, request->job, "execute");
  task.spec.session_id = request->session_id;
  // Time has passed while nobody was there; the deadline is of the acceptance.
  task.spec.waited_ms = std::max<Millis>(unix_ms(clock.wall()) - stored.accepted_at_ms, 0);
  task.spec.deadline_at_ms = std::max<Millis>(given - task.spec.waited_ms, 0);
  task.spec.restored = true;
  task.spec.attempt = stored.dispatched_at_ms ? stored.attempt + 1 : stored.attempt;
  task.spec.tokenizer_hash = stored.tokenizer_hash;
  task.job->max_tokens = task.spec.max_tokens;
  task.job->request = std::make_unique<JobRequest>(std::move(request->job));
  std::optional<std::uint64_t> after;
  while (true) {
    const auto frames = log.read(stored.job_id, after);
    if (!frames) {
      task.damaged = true;
      break;
    }
    if (frames->empty()) break;
    for (const auto& frame : *frames) {
      take_frame(*task.job, static_cast<std::int64_t>(frame.seq), frame.bytes);
      task.last = end_in(frame.bytes);
      if (const auto seed = seed_in(frame.bytes)) task.job->request->sampling.seed = *seed;
      after = frame.seq;
    }
  }
  // A frame is missing in between: what its readers have had is not known.
  const auto kept = task.job->frames.empty() ? 0 : task.job->frames.back().seq;
  if (kept > task.job->next_seq()) task.damaged = true;
  auto& seed = task.job->request->sampling.seed;
  if (!seed) seed = random_u64() >> 11;
  task.spec.tokens_out = static_cast<std::int64_t>(task.job->tokens.size());
  return task;
}

// What Journal adds to a registration. nullopt: of another version.
std::optional<Restored::Worker> worker_in(const std::string& metadata_json) {
  auto told = decode_registration(metadata_json);
  const auto metadata = parse_json_object(metadata_json);
  if (!told || !metadata) return std::nullopt;
  Restored::Worker worker{.registration = std::move(*told), .draining = false, .owner = {}};
  const auto* const draining = metadata->if_contains("draining");
  worker.draining = draining != nullptr && draining->is_bool() && draining->get_bool();
  const auto* const owner = metadata->if_contains("owner");
  if (owner != nullptr && owner->is_string()) worker.owner = std::string(owner->get_string());
  return worker;
}

}  // namespace

std::shared_ptr<JobRecord> record_of(const Executor& executor, const StoredJob& stored) {
  auto job = std::make_shared<JobRecord>(executor);
  job->id = stored.job_id;
  job->kind = kind_of(stored.route);
  job->correlation_id = stored.correlation_id;
  job->key_id = stored.key_id;
  job->model = stored.model;
  job->tenant = stored.tenant;
  job->priority = stored.priority == "batch" ? Priority::batch : Priority::interactive;
  job->accepted_wall = wall_time(stored.accepted_at_ms);
  job->dispatched_wall = wall_time_if(stored.dispatched_at_ms);
  job->first_token_wall = wall_time_if(stored.first_token_at_ms);
  job->ended_wall = wall_time_if(stored.ended_at_ms);
  job->status = static_cast<JobStatus>(stored.status);
  job->attempt = stored.attempt;
  job->worker_id = stored.worker_id;
  job->prompt_tokens = stored.prompt_tokens;
  job->cached_tokens = stored.cached_tokens;
  job->tokens_stored = stored.tokens_out;
  job->admitted = true;
  if (!has_ended(stored.status)) return job;
  JobEnd end{.status = job->status, .error = {}, .stop_reason = StopReason::EOS};
  if (!stored.error_code.empty()) {
    end.error = Error{.code = code_from_wire(stored.error_code).value_or(Code::internal),
                      .message = stored.error_message};
  }
  end.stop_reason = stop_reason_from_wire(stored.stop_reason).value_or(StopReason::EOS);
  job->end = std::move(end);
  return job;
}

void take_frame(JobRecord& job, std::int64_t seq, std::string_view frame) {
  const auto line = frame.substr(0, frame.find('\n'));
  constexpr std::string_view id = "id: ";
  if (line.starts_with(id)) {
    if (const auto position = parse_stream_position(line.substr(id.size()))) {
      job.tokens.insert(job.tokens.end(), position->token_ids.begin(), position->token_ids.end());
    }
  }
  if (frame.find("\nevent: started\n") != frame.npos) job.started = true;
  KeptFrame kept{.seq = seq, .bytes = "id: " + std::to_string(seq) + "\n"};
  kept.bytes += frame.substr(std::min(line.size() + 1, frame.size()));
  job.frames.push_back(std::move(kept));
  job.show_frames();
}

Result<Restored> restore(const Executor& executor, const Clock& clock, Store& store, EventLog& log,
                         Millis job_timeout_ms) {
  const auto now_ms = unix_ms(clock.wall());
  const auto ended = store.write(EndAbandoned{.ended_at_ms = now_ms,
                                              .error_code = std::string(wire_name(Code::internal)),
                                              .error_message = "orchestratord was restarted"});
  if (!ended) return fail(ended.error());
  if (const auto flushed = store.flush(); !flushed) return fail(flushed.error());
  const auto workers = store.read_now([](StoreReader& reader) { return reader.workers(); });
  if (!workers) return fail(workers.error());
  auto keys = store.read_now([](StoreReader& reader) { return reader.keys(); });
  if (!keys) return fail(keys.error());
  auto charges = store.read_now([since_ms = now_ms - limits::charges_restored_ms](
                                    StoreReader& reader) { return reader.charges(since_ms); });
  if (!charges) return fail(charges.error());
  const auto jobs = store.read_now([](StoreReader& reader) { return reader.open_jobs(); });
  if (!jobs) return fail(jobs.error());
  Restored restored;
  restored.keys = std::move(*keys);
  restored.charges = std::move(*charges);
  for (const auto& worker : *workers) {
    if (auto known = worker_in(worker.metadata_json)) {
      restored.workers.push_back(std::move(*known));
    }
  }
  for (const auto& report : log.recovered().reports) {
    log_event(LogLevel::error, "orchestrator", "event_log_damaged", {{"message", report}});
  }
  std::unordered_map<JobId, bool> open;
  for (const auto& stored : *jobs) {
    open.emplace(stored.job_id, true);
    auto task = restore_task(executor, clock, stored, log, job_timeout_ms);
    if (!task) {  // of another version: it ends with an error instead of never
      log_event(LogLevel::error, "orchestrator", "task_not_restored",
                {{"job_id", stored.job_id.value}, {"message", task.error().message}});
      task = Restored::Task{.job = record_of(executor, stored), .spec = {}, .damaged = true};
    }
    restored.tasks.push_back(std::move(*task));
  }
  for (const auto& recovered : log.recovered().jobs) {
    if (!open.contains(recovered.job_id)) log.forget(recovered.job_id);
    for (auto& task : restored.tasks) {
      if (recovered.damaged && task.job->id == recovered.job_id) task.damaged = true;
    }
  }
  return restored;
}

}  // namespace llorch
