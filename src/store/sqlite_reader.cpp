#include "store/sqlite_reader.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <initializer_list>
#include <type_traits>
#include <utility>

#include "base/limits.h"

namespace llorch {
namespace {

// A select of whole jobs; `rest` begins with the body's column.
std::string select_jobs(std::string_view rest) {
  return "SELECT job_id, status, route, model, tenant, priority, session_id, body_sha256,"
         " accepted_at_ms, deadline_at_ms, dispatched_at_ms, first_token_at_ms, ended_at_ms,"
         " worker_id, tokenizer_hash, attempt, prompt_tokens, cached_tokens, tokens_out,"
         " stop_reason, error_code, error_message, correlation_id, idempotency_key,"
         " idempotency_hash, key_id, " +
         std::string(rest);
}

// The schema's CHECKs leave no other names, so a default stands for none.
template <class Enum>
Enum named(Row& row) {
  return from_wire_name<Enum>(row.text()).value_or(Enum{});
}

StoredJob job_from(Row& row) {
  StoredJob job;
  job.job_id.value = row.text();
  job.status = named<StoredJob::Status>(row);
  job.route = named<StoredJob::Route>(row);
  job.model = row.text();
  job.tenant = row.text();
  job.priority = row.text();
  job.session_id = row.text();
  job.body_sha256 = row.text();
  job.accepted_at_ms = row.integer();
  job.deadline_at_ms = row.integer_or_null();
  job.dispatched_at_ms = row.integer_or_null();
  job.first_token_at_ms = row.integer_or_null();
  job.ended_at_ms = row.integer_or_null();
  job.worker_id = row.text();
  job.tokenizer_hash = row.text();
  job.attempt = static_cast<std::uint32_t>(row.integer());
  job.prompt_tokens = row.integer();
  job.cached_tokens = row.integer();
  job.tokens_out = row.integer();
  job.stop_reason = row.text();
  job.error_code = row.text();
  job.error_message = row.text();
  job.correlation_id = row.text();
  job.idempotency_key = row.text();
  job.idempotency_hash = row.text();
  job.key_id = row.text();
  job.body = row.text();
  return job;
}

StoredWorker worker_from(Row& row) {
  StoredWorker worker;
  worker.worker_id.value = row.text();
  worker.pool_host = row.text();
  worker.host = row.text();
  worker.port = static_cast<std::uint16_t>(row.integer());
  worker.model = row.text();
  worker.backend = row.text();
  worker.status = named<StoredWorker::Status>(row);
  worker.last_health_check_ms = row.integer();
  worker.registered_at_ms = row.integer();
  worker.metadata_json = row.text();
  return worker;
}

StoredKey key_from(Row& row) {
  StoredKey key;
  key.key_id = row.text();
  key.name = row.text();
  key.hash = row.text();
  key.role = named<StoredKey::Role>(row);
  key.tenant = row.text();
  key.models_json = row.text();
  key.tokens_per_minute = row.integer();
  key.priority_max = row.text();
  key.priority_default = row.text();
  key.created_at_ms = row.integer();
  key.expires_at_ms = row.integer_or_null();
  key.revoked_at_ms = row.integer_or_null();
  return key;
}

StoredUsage usage_from(Row& row) {
  StoredUsage usage;
  usage.tenant = row.text();
  usage.model = row.text();
  usage.jobs = row.integer();
  usage.failed = row.integer();
  usage.prompt_tokens = row.integer();
  usage.cached_tokens = row.integer();
  usage.tokens_out = row.integer();
  return usage;
}

StoredCharge charge_from(Row& row) {
  StoredCharge charge;
  charge.key_id = row.text();
  charge.ended_at_ms = row.integer();
  charge.tokens = row.integer();
  return charge;
}

// Behind the job's id.
StoredDecision decision_from(JobId job_id, Row& row) {
  StoredDecision decision{.job_id = std::move(job_id)};
  decision.attempt = static_cast<std::uint32_t>(row.integer());
  decision.at_ms = row.integer();
  decision.json = row.text();
  return decision;
}

// Every row that the statement gives, as `from` makes it.
template <class From, class Values = std::initializer_list<Value>>
Result<std::vector<std::invoke_result_t<From, Row&>>> rows_of(Database& database,
                                                              std::string_view sql,
                                                              const Values& values, From from) {
  std::vector<std::invoke_result_t<From, Row&>> rows;
  const auto asked = database.query(sql, values, [&](Row& row) { rows.push_back(from(row)); });
  if (!asked) return fail(asked.error());
  return rows;
}

}  // namespace

void SqliteReader::run(const Store::Read& task) {
  database_.limit_time(std::chrono::steady_clock::now() +
                       std::chrono::milliseconds(limits::store_read_ms_max));
  // Without a transaction each statement has its own view: no worse than an error that hides it.
  static_cast<void>(database_.execute("BEGIN"));
  task(*this);
  database_.limit_time(std::nullopt);
  database_.roll_back();
}

Result<std::vector<StoredWorker>> SqliteReader::workers() {
  return rows_of(
      database_,
      "SELECT worker_id, pool_host, host, port, model, backend, status, last_health_check,"
      " registered_at, metadata FROM workers ORDER BY worker_id",
      {}, worker_from);
}

Result<std::vector<StoredKey>> SqliteReader::keys() {
  return rows_of(
      database_,
      "SELECT key_id, name, hash, role, tenant, models, tokens_per_minute, priority_max,"
      " priority_default, created_at_ms, expires_at_ms, revoked_at_ms FROM keys ORDER BY key_id",
      {}, key_from);
}

Result<std::vector<StoredJob>> SqliteReader::jobs_of(std::string_view sql,
                                                     Database::Values values) {
  return rows_of(database_, sql, values, job_from);
}

Result<std::optional<StoredJob>> SqliteReader::one_job(std::string_view sql,
                                                       Database::Values values) {
  auto jobs = jobs_of(sql, values);
  if (!jobs) return fail(jobs.error());
  if (jobs->empty()) return std::nullopt;
  return std::move(jobs->front());
}

Result<std::optional<StoredJob>> SqliteReader::job(const JobId& job_id) {
  const std::array<Value, 1> values = {job_id.value};
  return one_job(select_jobs("bodies.body FROM jobs LEFT JOIN bodies USING(row) WHERE job_id=?1"),
                 values);
}

Result<std::optional<StoredJob>> SqliteReader::job_of_key(std::string_view tenant,
                                                          std::string_view idempotency_key) {
  if (idempotency_key.empty()) return std::nullopt;
  const std::array<Value, 2> values = {tenant, idempotency_key};
  // The second condition lets SQLite see that the partial index serves.
  return one_job(
      select_jobs("'' FROM jobs WHERE tenant=?1 AND idempotency_key=?2 AND idempotency_key<>''"),
      values);
}

Result<std::vector<StoredJob>> SqliteReader::jobs(const JobFilter& filter) {
  std::string sql = select_jobs("'' FROM jobs WHERE 1");
  std::vector<Value> values;
  const auto narrow = [&](const char* condition, const Value& value) {
    values.push_back(value);
    sql += condition + std::to_string(values.size());
  };
  if (filter.tenant) narrow(" AND tenant=?", *filter.tenant);
  if (filter.model) narrow(" AND model=?", *filter.model);
  if (filter.status) narrow(" AND status=?", wire_name(*filter.status));
  if (filter.status && !has_ended(*filter.status)) sql += " AND ended_at_ms IS NULL";
  if (filter.since_ms) narrow(" AND accepted_at_ms>=?", *filter.since_ms);
  if (filter.before) {
    narrow(" AND (accepted_at_ms, job_id) < (?", filter.before->accepted_at_ms);
    narrow(", ?", filter.before->job_id.value);
    sql += ")";
  }
  const std::size_t count = std::min(filter.limit, limits::store_list_max);
  narrow(" ORDER BY accepted_at_ms DESC, job_id DESC LIMIT ?", count);
  return jobs_of(sql, values);
}

Result<std::vector<StoredUsage>> SqliteReader::usage(std::int64_t since_ms) {
  return rows_of(database_,
                 "SELECT tenant, model, count(*), sum(status='failed'), sum(prompt_tokens),"
                 " sum(cached_tokens), sum(tokens_out) FROM jobs WHERE accepted_at_ms>=?1"
                 " GROUP BY tenant, model ORDER BY tenant, model LIMIT ?2",
                 {since_ms, static_cast<std::int64_t>(limits::store_list_max)}, usage_from);
}

Result<std::vector<StoredCharge>> SqliteReader::charges(std::int64_t since_ms) {
  // At a start nobody else waits, and ten busy minutes may take longer than a read should.
  database_.limit_time(std::nullopt);
  return rows_of(database_,
                 "SELECT key_id, ended_at_ms, sum(prompt_tokens+tokens_out) FROM jobs"
                 " WHERE key_id<>'' AND ended_at_ms>=?1 GROUP BY ended_at_ms, key_id"
                 " ORDER BY ended_at_ms, key_id",
                 {since_ms}, charge_from);
}

Result<std::vector<StoredJob>> SqliteReader::open_jobs() {
  // The same of a large queue.
  database_.limit_time(std::nullopt);
  return jobs_of(
      select_jobs("bodies.body FROM jobs LEFT JOIN bodies USING(row)"
                  " WHERE ended_at_ms IS NULL AND route='v2' ORDER BY accepted_at_ms, row"),
      {});
}

Result<std::vector<StoredDecision>> SqliteReader::decisions(const JobId& job_id) {
  return rows_of(database_,
                 "SELECT attempt, at_ms, json FROM decisions WHERE job_id=?1 ORDER BY row",
                 {job_id.value}, [&](Row& row) { return decision_from(job_id, row); });
}

Result<DecisionSpan> SqliteReader::newest_decisions(std::int64_t since_ms, std::int64_t count_max) {
  const auto count =
      database_.integer("SELECT count(*) FROM decisions WHERE at_ms>=?1", {since_ms});
  if (!count) return fail(count.error());
  // By the index alone: the rows themselves are large.
  const auto first = database_.integer(
      "SELECT min(row) FROM (SELECT row FROM decisions WHERE at_ms>=?1"
      " ORDER BY at_ms DESC, row DESC LIMIT ?2)",
      {since_ms, count_max});
  if (!first) return fail(first.error());
  return DecisionSpan{.first_row = *first, .count = *count};
}

Result<std::vector<DecisionRow>> SqliteReader::decisions_from(std::int64_t row,
                                                              std::int64_t count_max) {
  return rows_of(
      database_,
      "SELECT row, job_id, attempt, at_ms, json FROM decisions WHERE row>=?1 ORDER BY row LIMIT ?2",
      {row, count_max}, [](Row& columns) {
        DecisionRow found;
        found.row = columns.integer();
        JobId job_id{columns.text()};
        found.decision = decision_from(std::move(job_id), columns);
        return found;
      });
}

Result<std::optional<std::string>> SqliteReader::frames(const JobId& job_id) {
  std::optional<std::string> blob;
  const auto asked =
      database_.query("SELECT frames FROM frames JOIN jobs USING(row) WHERE job_id=?1",
                      {job_id.value}, [&](Row& row) { blob = row.text(); });
  if (!asked) return fail(asked.error());
  return blob;
}

}  // namespace llorch
