#include "store/sqlite_writes.h"

#include <string>

#include "base/limits.h"

namespace llorch {
namespace {

// A decision is small beside a job: more of them fit one transaction.
constexpr auto retention_decisions = static_cast<std::int64_t>(limits::store_retention_jobs) * 10;

Result<Applied> plainly(const Result<void>& done) {
  if (!done) return fail(done.error());
  return Applied{};
}

std::unexpected<Error> fail_unknown(const JobId& job_id) {
  return fail(Code::job_not_found, "no job " + job_id.value);
}

struct Apply {
  Database& database;

  Result<Applied> operator()(const UpsertWorker& write) const {
    const StoredWorker& worker = write.worker;
    return plainly(database.execute(
        "INSERT INTO workers(worker_id, pool_host, host, port, model, backend, status,"
        " last_health_check, registered_at, metadata) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)"
        " ON CONFLICT(worker_id) DO UPDATE SET pool_host=excluded.pool_host, host=excluded.host,"
        " port=excluded.port, model=excluded.model, backend=excluded.backend,"
        " status=excluded.status, last_health_check=excluded.last_health_check,"
        " metadata=excluded.metadata",
        {worker.worker_id.value, worker.pool_host, worker.host, worker.port, worker.model,
         worker.backend, wire_name(worker.status), worker.last_health_check_ms,
         worker.registered_at_ms, worker.metadata_json}));
  }

  Result<Applied> operator()(const RemoveWorker& write) const {
    return plainly(
        database.execute("DELETE FROM workers WHERE worker_id=?1", {write.worker_id.value}));
  }

  Result<Applied> operator()(const InsertJob& write) const {
    const StoredJob& job = write.job;
    const auto row = database.execute(
        "INSERT INTO jobs(job_id, status, route, model, tenant, priority, session_id, body_sha256,"
        " accepted_at_ms, deadline_at_ms, dispatched_at_ms, first_token_at_ms, ended_at_ms,"
        " worker_id, tokenizer_hash, attempt, prompt_tokens, cached_tokens, tokens_out,"
        " stop_reason, error_code, error_message, correlation_id, idempotency_key,"
        " idempotency_hash, key_id) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,"
        "?16,?17,?18,?19,?20,?21,?22,?23,?24,?25,?26)",
        {job.job_id.value,     wire_name(job.status),
         wire_name(job.route), job.model,
         job.tenant,           job.priority,
         job.session_id,       job.body_sha256,
         job.accepted_at_ms,   job.deadline_at_ms,
         job.dispatched_at_ms, job.first_token_at_ms,
         job.ended_at_ms,      job.worker_id,
         job.tokenizer_hash,   job.attempt,
         job.prompt_tokens,    job.cached_tokens,
         job.tokens_out,       job.stop_reason,
         job.error_code,       job.error_message,
         job.correlation_id,   job.idempotency_key,
         job.idempotency_hash, job.key_id});
    if (!row && row.error().code == Code::conflict) {
      return fail(Code::conflict,
                  "job " + job.job_id.value + " or its idempotency key is stored already");
    }
    if (!row || job.body.empty()) return plainly(row);
    return plainly(
        database.execute("INSERT INTO bodies(row, body) SELECT row, ?2 FROM jobs WHERE job_id=?1",
                         {job.job_id.value, Blob{job.body}}));
  }

  Result<Applied> operator()(const RemoveJob& write) const {
    const auto done = database.execute("DELETE FROM jobs WHERE job_id=?1", {write.job_id.value});
    if (!done) return fail(done.error());
    return Applied{.ended = database.changes() > 0};  // its body is wiped as that of an ended one
  }

  Result<Applied> operator()(const UpdateJob& write) const {
    const auto status = write.status ? std::optional(wire_name(*write.status)) : std::nullopt;
    const auto done = database.execute(
        "UPDATE jobs SET status=coalesce(?2,status), worker_id=coalesce(?3,worker_id),"
        " tokenizer_hash=coalesce(?4,tokenizer_hash), attempt=coalesce(?5,attempt),"
        " dispatched_at_ms=coalesce(?6,dispatched_at_ms),"
        " first_token_at_ms=coalesce(?7,first_token_at_ms), ended_at_ms=?8,"
        " prompt_tokens=coalesce(?9,prompt_tokens), cached_tokens=coalesce(?10,cached_tokens),"
        " tokens_out=coalesce(?11,tokens_out), stop_reason=coalesce(?12,stop_reason),"
        " error_code=coalesce(?13,error_code), error_message=coalesce(?14,error_message)"
        " WHERE job_id=?1 AND ended_at_ms IS NULL",
        {write.job_id.value, status, write.worker_id, write.tokenizer_hash, write.attempt,
         write.dispatched_at_ms, write.first_token_at_ms, write.ended_at_ms, write.prompt_tokens,
         write.cached_tokens, write.tokens_out, write.stop_reason, write.error_code,
         write.error_message});
    if (!done) return fail(done.error());
    if (database.changes() == 0) return why_unchanged(write.job_id);
    if (!write.ended_at_ms) return Applied{};
    const auto gone =
        database.execute("DELETE FROM bodies WHERE row=(SELECT row FROM jobs WHERE job_id=?1)",
                         {write.job_id.value});
    if (!gone) return fail(gone.error());
    return Applied{.ended = database.changes() > 0};
  }

  Result<Applied> operator()(const AppendDecision& write) const {
    const StoredDecision& decision = write.decision;
    return plainly(
        database.execute("INSERT INTO decisions(job_id, attempt, at_ms, json) VALUES(?1,?2,?3,?4)",
                         {decision.job_id.value, decision.attempt, decision.at_ms, decision.json}));
  }

  Result<Applied> operator()(const UpsertKey& write) const {
    const StoredKey& key = write.key;
    return plainly(database.execute(
        "INSERT OR REPLACE INTO keys(key_id, name, hash, role, tenant, models, tokens_per_minute,"
        " priority_max, priority_default, created_at_ms, expires_at_ms, revoked_at_ms)"
        " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)",
        {key.key_id, key.name, Blob{key.hash}, wire_name(key.role), key.tenant, key.models_json,
         key.tokens_per_minute, key.priority_max, key.priority_default, key.created_at_ms,
         key.expires_at_ms, key.revoked_at_ms}));
  }

  Result<Applied> operator()(const FoldFrames& write) const {
    const auto done = database.execute(
        "INSERT OR REPLACE INTO frames(row, frames) SELECT row, ?2 FROM jobs WHERE job_id=?1",
        {write.job_id.value, Blob{write.blob}});
    if (!done) return fail(done.error());
    if (database.changes() == 0) return fail_unknown(write.job_id);
    return Applied{};
  }

  Result<Applied> operator()(const EndAbandoned& write) const {
    // The bodies first: afterwards these jobs cannot be told from others that have ended.
    const auto gone = database.execute(
        "DELETE FROM bodies WHERE row IN"
        " (SELECT row FROM jobs WHERE ended_at_ms IS NULL AND route<>'v2')");
    if (!gone) return fail(gone.error());
    const bool ended = database.changes() > 0;
    const auto done = database.execute(
        "UPDATE jobs SET status='failed', ended_at_ms=?1, error_code=?2, error_message=?3"
        " WHERE ended_at_ms IS NULL AND route<>'v2'",
        {write.ended_at_ms, write.error_code, write.error_message});
    if (!done) return fail(done.error());
    return Applied{.ended = ended};
  }

  Result<Applied> operator()(const DeleteOlder& write) const {
    const auto jobs_max = static_cast<std::int64_t>(limits::store_retention_jobs);
    const auto jobs = database.execute(
        "DELETE FROM jobs WHERE row IN"
        " (SELECT row FROM jobs WHERE ended_at_ms<?1 ORDER BY ended_at_ms LIMIT ?2)",
        {write.before_ms, jobs_max});
    if (!jobs) return fail(jobs.error());
    bool more = database.changes() >= jobs_max;
    const auto decisions = database.execute(
        "DELETE FROM decisions WHERE row IN"
        " (SELECT row FROM decisions WHERE at_ms<?1 ORDER BY at_ms LIMIT ?2)",
        {write.before_ms, retention_decisions});
    if (!decisions) return fail(decisions.error());
    more = more || database.changes() >= retention_decisions;
    // Rows are numbered in order and go at the old end only, so counting them needs no look at
    // them.
    const auto beyond = database.execute(
        "DELETE FROM decisions WHERE row IN (SELECT row FROM decisions"
        " WHERE row<=(SELECT max(row) FROM decisions)-?1 ORDER BY row LIMIT ?2)",
        {write.decisions_max, retention_decisions});
    if (!beyond) return fail(beyond.error());
    more = more || database.changes() >= retention_decisions;
    return Applied{.more = more};
  }

 private:
  Result<Applied> why_unchanged(const JobId& job_id) const {
    const auto status = database.integer("SELECT 1 FROM jobs WHERE job_id=?1", {job_id.value});
    if (status) return fail(Code::conflict, "job " + job_id.value + " has ended already");
    if (status.error().code == Code::not_found) return fail_unknown(job_id);
    return fail(status.error());
  }
};

}  // namespace

Result<void> check_write(const StoreWrite& write) {
  if (const auto* insert = std::get_if<InsertJob>(&write)) {
    const StoredJob& job = insert->job;
    if (job.body.size() > limits::body_bytes_max) {
      return fail(Code::too_large, "job " + job.job_id.value + ": the body is too large");
    }
    if (has_ended(job.status) || job.ended_at_ms) {
      return fail(Code::invalid_request, "job " + job.job_id.value + " begins as ended");
    }
  }
  if (const auto* update = std::get_if<UpdateJob>(&write)) {
    const bool ends = update->status && has_ended(*update->status);
    if (ends != update->ended_at_ms.has_value()) {
      return fail(Code::invalid_request,
                  "job " + update->job_id.value + ": an end wants both its status and its time");
    }
  }
  if (const auto* fold = std::get_if<FoldFrames>(&write)) {
    if (fold->blob.size() > limits::store_frames_bytes_max) {
      return fail(Code::too_large, "job " + fold->job_id.value + ": its frames are too large");
    }
  }
  return {};
}

Result<Applied> apply_write(Database& database, const StoreWrite& write) {
  if (const auto sound = check_write(write); !sound) return fail(sound.error());
  return std::visit(Apply{database}, write);
}

bool is_refusal(const Error& error) {
  switch (error.code) {
    case Code::conflict:
    case Code::job_not_found:
    case Code::too_large:
    case Code::invalid_request:
      return true;
    default:
      return false;
  }
}

}  // namespace llorch
