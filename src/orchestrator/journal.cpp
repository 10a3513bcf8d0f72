#include "orchestrator/journal.h"

#include <boost/asio/post.hpp>
#include <span>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "pool/sha256.h"
#include "protocol/json_text.h"

namespace llorch {
namespace {

StoredJob::Status stored_status(JobStatus status) {
  return static_cast<StoredJob::Status>(status);
}
static_assert(static_cast<int>(StoredJob::Status::cancelled) ==
              static_cast<int>(JobStatus::cancelled));

std::optional<std::int64_t> known_ms(const std::optional<WallTime>& time) {
  return time ? std::optional(unix_ms(*time)) : std::nullopt;
}

}  // namespace

std::string sha256_of(std::string_view text) {
  Sha256 hash;
  hash.add(std::as_bytes(std::span(text)));
  return hash.finish();
}

Task<Result<void>> Journal::commit(StoreWrite write) {
  const auto answer = std::make_shared<std::unique_ptr<Result<void>>>();
  const auto arrived = std::make_shared<net::Event>(executor_);
  const auto taken =
      store_.write(std::move(write), [executor = executor_, answer, arrived](Result<void> result) {
        asio::post(executor, [answer, arrived, result = std::move(result)]() mutable {
          *answer = std::make_unique<Result<void>>(std::move(result));
          arrived->ring();
        });
      });
  if (!taken) co_return fail(taken.error());
  while (!*answer) co_await arrived->wait();
  co_return std::move(**answer);
}

void Journal::behind(StoreWrite write) {
  const auto taken = store_.write(std::move(write));
  if (taken) return;
  log_event(LogLevel::error, "orchestrator", "store_write_lost",
            {{"code", wire_name(taken.error().code)}, {"message", taken.error().message}});
}

Task<Result<void>> Journal::accept(const JobRecord& job, std::string body,
                                   std::string idempotency_key) {
  StoredJob stored;
  stored.job_id = job.id;
  stored.model = job.model;
  stored.tenant = job.tenant;
  stored.priority = wire_name(job.priority);
  stored.body_sha256 = sha256_of(body);
  stored.idempotency_hash = idempotency_key.empty() ? "" : stored.body_sha256;
  stored.idempotency_key = std::move(idempotency_key);
  stored.key_id = job.key_id;
  stored.body = std::move(body);
  stored.accepted_at_ms = unix_ms(job.accepted_wall);
  stored.correlation_id = job.correlation_id;
  StoreWrite write = InsertJob{std::move(stored)};
  co_return co_await commit(std::move(write));
}

Task<void> Journal::take_back(JobId id) {
  StoreWrite write = RemoveJob{id};
  const auto done = co_await commit(std::move(write));
  // A disk that is full now is tried until it is not: the task must not begin after a restart.
  if (!done) behind(RemoveJob{std::move(id)});
}

void Journal::begun(const JobRecord& job) {
  StoredJob stored;
  stored.job_id = job.id;
  stored.route = static_cast<StoredJob::Route>(job.kind);
  stored.status = stored_status(job.status);
  stored.model = job.model;
  stored.tenant = job.tenant;
  stored.priority = wire_name(job.priority);
  stored.accepted_at_ms = unix_ms(job.accepted_wall);
  stored.dispatched_at_ms = known_ms(job.dispatched_wall);
  stored.worker_id = job.worker_id;
  stored.attempt = job.attempt;
  stored.correlation_id = job.correlation_id;
  stored.key_id = job.key_id;
  behind(InsertJob{std::move(stored)});
}

void Journal::changed(const JobRecord& job, std::optional<std::string> tokenizer_hash) {
  behind(UpdateJob{.job_id = job.id,
                   .status = stored_status(job.status),
                   .worker_id = job.worker_id,
                   .tokenizer_hash = std::move(tokenizer_hash),
                   .attempt = job.attempt,
                   .dispatched_at_ms = known_ms(job.dispatched_wall),
                   .prompt_tokens = job.prompt_tokens,
                   .cached_tokens = job.cached_tokens});
}

void Journal::keep(const JobId& id, std::int64_t seq, std::string_view frame) {
  if (unlogged_.contains(id)) return;
  const auto kept = log_.append(id, static_cast<std::uint64_t>(seq), frame);
  if (kept) return;
  // No gap in the middle: what comes after it is not kept either.
  unlogged_.insert(id);
  log_event(LogLevel::error, "orchestrator", "frames_not_kept",
            {{"job_id", id.value}, {"message", kept.error().message}});
}

// A full disk does not end the answers that are being read; only a crash meanwhile would.
void Journal::flush() {
  if (!log_.has_pending()) return;
  const auto now = clock_.now();
  constexpr double pause_ms = 250;  // a write that fails costs time that streams need
  if (log_fails_ && elapsed_ms(log_failed_at_, now) < pause_ms) return;
  const auto written = log_.flush();
  if (written) {
    log_fails_ = false;
    return;
  }
  log_failed_at_ = now;
  if (std::exchange(log_fails_, true)) return;
  log_event(LogLevel::error, "orchestrator", "event_log_fails",
            {{"message", written.error().message}});
}

void Journal::show(std::shared_ptr<JobRecord> job) {
  to_show_.push_back(std::move(job));
  if (to_show_.size() == 1) asio::post(executor_, [this] { show_all(); });
}

void Journal::show_all() {
  flush();
  for (const auto& job : std::exchange(to_show_, {})) {
    job->show_frames();
    job->bell.ring();
  }
}

namespace {

std::string folded_from_memory(const JobRecord& job) {
  std::string blob;
  for (const auto& frame : job.frames) {
    append_frame(blob, static_cast<std::uint64_t>(frame.seq), frame.bytes);
  }
  return blob;
}

UpdateJob end_of(const JobRecord& job, WallTime now) {
  UpdateJob update{.job_id = job.id,
                   .status = stored_status(job.status),
                   .worker_id = job.worker_id,
                   .attempt = job.attempt,
                   .dispatched_at_ms = known_ms(job.dispatched_wall),
                   .first_token_at_ms = known_ms(job.first_token_wall),
                   .ended_at_ms = unix_ms(job.ended_wall.value_or(now)),
                   .prompt_tokens = job.prompt_tokens,
                   .cached_tokens = job.cached_tokens,
                   .tokens_out = static_cast<std::int64_t>(job.tokens.size())};
  if (const auto* const error = job.error()) {
    update.error_code = wire_name(error->code);
    update.error_message = error->message;
  } else if (job.end) {
    update.stop_reason = wire_name(job.end->stop_reason);
  }
  return update;
}

// Written, or refused for good: a job that had ended already keeps its first end, one that is gone
// has none.
bool is_settled(const Result<void>& done) {
  if (done || done.error().code == Code::conflict || done.error().code == Code::job_not_found) {
    return true;
  }
  if (done.error().code != Code::too_large) return false;
  log_event(LogLevel::warn, "orchestrator", "frames_not_kept", {{"message", done.error().message}});
  return true;
}

}  // namespace

void Journal::ended(std::shared_ptr<JobRecord> job) {
  if (job->kind != JobKind::task) return behind(end_of(*job, clock_.wall()));
  flush();
  // A fold that nobody waited for would be kept, once more for each try. Its answer comes before
  // that of the end, on the same thread.
  const auto folded = std::make_shared<bool>(false);
  const auto fold_taken =
      store_.write(FoldFrames{job->id, folded_from_memory(*job)},
                   [folded](const Result<void>& done) { *folded = is_settled(done); });
  if (!fold_taken) return unwritten_ends_.push_back(std::move(job));
  const auto taken = store_.write(end_of(*job, clock_.wall()),
                                  [this, executor = executor_, job, folded](Result<void> done) {
                                    const bool written = *folded && is_settled(done);
                                    asio::post(executor, [this, job, written] {
                                      if (!written) return unwritten_ends_.push_back(job);
                                      log_.forget(job->id);
                                      unlogged_.erase(job->id);
                                    });
                                  });
  if (!taken) unwritten_ends_.push_back(std::move(job));
}

void Journal::try_again() {
  if (unwritten_ends_.empty()) return;
  constexpr double pause_ms = 1'000;
  if (elapsed_ms(tried_at_, clock_.now()) < pause_ms) return;
  tried_at_ = clock_.now();
  for (auto& job : std::exchange(unwritten_ends_, {})) ended(std::move(job));
}

void Journal::decided(const JobId& id, std::uint32_t attempt, std::string json) {
  behind(AppendDecision{{.job_id = id,
                         .attempt = attempt,
                         .at_ms = unix_ms(clock_.wall()),
                         .json = std::move(json)}});
}

namespace {

// Its registration, and what was decided about it: an older llorch reads past what it does not
// know.
std::string metadata_of(const WorkerState& worker, const std::optional<std::string>& owner) {
  auto json = encode(worker.registration);
  std::string ours;
  if (worker.draining) ours += ",\"draining\":true";
  if (owner) append_json_string(ours += ",\"owner\":", *owner);
  json.insert(json.rfind('}'), ours);
  return json;
}

UpsertWorker row_of(const WorkerState& worker, const std::optional<std::string>& owner,
                    WallTime now) {
  const auto& told = worker.registration;
  StoredWorker stored;
  stored.worker_id.value = told.worker_id;
  stored.pool_host = told.pool_host;
  stored.host = told.host;
  stored.port = told.port;
  stored.model = told.model;
  stored.backend = told.backend;
  stored.status = static_cast<StoredWorker::Status>(worker.status);
  stored.last_health_check_ms = stored.registered_at_ms = unix_ms(now);
  stored.metadata_json = metadata_of(worker, owner);
  return {std::move(stored)};
}

}  // namespace

void Journal::worker_changed(const WorkerState& worker, const std::optional<std::string>& owner) {
  behind(row_of(worker, owner, clock_.wall()));
}

Task<Result<void>> Journal::worker_kept(const WorkerState& worker,
                                        std::optional<std::string> owner) {
  StoreWrite write = row_of(worker, owner, clock_.wall());
  co_return co_await commit(std::move(write));
}

void Journal::worker_gone(const std::string& id) {
  behind(RemoveWorker{WorkerId{id}});
}

Task<Result<void>> Journal::key_changed(StoredKey key) {
  StoreWrite write = UpsertKey{std::move(key)};
  co_return co_await commit(std::move(write));
}

void Journal::forget_old() {
  behind(DeleteOlder{.before_ms = unix_ms(clock_.wall()) - limits::jobs_kept_ms,
                     .decisions_max = limits::decisions_max});
}

}  // namespace llorch
