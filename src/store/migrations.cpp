#include "store/migrations.h"

#include <array>

namespace llorch {
namespace {

// "llor": tells our files from other programs' (PRAGMA application_id).
constexpr std::int64_t our_application_id = 0x6c6c6f72;

// Bodies and frames stand in tables of their own, so that lists read no prompt and no answer.
// jobs_by_time and jobs_by_tenant end in `row` by themselves, which orders jobs of one millisecond.
constexpr std::array steps_of_this_llorch = {Migration{R"sql(
CREATE TABLE workers(
  worker_id TEXT PRIMARY KEY,
  pool_host TEXT NOT NULL,
  host TEXT NOT NULL,
  port INTEGER NOT NULL,
  model TEXT NOT NULL,
  backend TEXT NOT NULL,
  status TEXT NOT NULL CHECK(status IN ('healthy', 'unhealthy', 'dead')),
  last_health_check INTEGER NOT NULL,
  registered_at INTEGER NOT NULL,
  metadata TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs(
  row INTEGER PRIMARY KEY,
  job_id TEXT NOT NULL UNIQUE,
  status TEXT NOT NULL
    CHECK(status IN ('queued', 'dispatched', 'running', 'completed', 'failed', 'cancelled')),
  route TEXT NOT NULL CHECK(route IN ('v2', 'chat', 'completions', 'embeddings')),
  model TEXT NOT NULL,
  tenant TEXT NOT NULL,
  priority TEXT NOT NULL,
  session_id TEXT NOT NULL,
  body_sha256 TEXT NOT NULL,
  accepted_at_ms INTEGER NOT NULL,
  deadline_at_ms INTEGER,
  dispatched_at_ms INTEGER,
  first_token_at_ms INTEGER,
  ended_at_ms INTEGER,
  worker_id TEXT NOT NULL,
  tokenizer_hash TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL,
  tokens_out INTEGER NOT NULL,
  stop_reason TEXT NOT NULL,
  error_code TEXT NOT NULL,
  error_message TEXT NOT NULL,
  correlation_id TEXT NOT NULL,
  idempotency_key TEXT NOT NULL,
  idempotency_hash TEXT NOT NULL,
  CHECK((status IN ('completed', 'failed', 'cancelled')) = (ended_at_ms IS NOT NULL))
) STRICT;
CREATE INDEX jobs_by_time ON jobs(accepted_at_ms);
CREATE INDEX jobs_by_tenant ON jobs(tenant, accepted_at_ms);
CREATE INDEX jobs_open ON jobs(accepted_at_ms) WHERE ended_at_ms IS NULL;
CREATE INDEX jobs_ended ON jobs(ended_at_ms) WHERE ended_at_ms IS NOT NULL;
CREATE UNIQUE INDEX jobs_by_key ON jobs(tenant, idempotency_key) WHERE idempotency_key <> '';

CREATE TABLE bodies(
  row INTEGER PRIMARY KEY REFERENCES jobs(row) ON DELETE CASCADE,
  body BLOB NOT NULL
) STRICT;
CREATE TABLE frames(
  row INTEGER PRIMARY KEY REFERENCES jobs(row) ON DELETE CASCADE,
  frames BLOB NOT NULL
) STRICT;

CREATE TABLE decisions(
  row INTEGER PRIMARY KEY,
  job_id TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  json TEXT NOT NULL
) STRICT;
CREATE INDEX decisions_by_job ON decisions(job_id);
CREATE INDEX decisions_by_time ON decisions(at_ms);

CREATE TABLE keys(
  key_id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  hash BLOB NOT NULL,
  role TEXT NOT NULL CHECK(role IN ('admin', 'worker', 'client')),
  tenant TEXT NOT NULL,
  models TEXT NOT NULL,
  tokens_per_minute INTEGER NOT NULL,
  priority_max TEXT NOT NULL,
  priority_default TEXT NOT NULL,
  expires_at_ms INTEGER,
  revoked INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
)sql"},
                                             Migration{R"sql(
ALTER TABLE keys ADD COLUMN created_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN revoked_at_ms INTEGER;
UPDATE keys SET revoked_at_ms=0 WHERE revoked<>0;
ALTER TABLE keys DROP COLUMN revoked;
)sql"},
                                             Migration{R"sql(
ALTER TABLE jobs ADD COLUMN key_id TEXT NOT NULL DEFAULT '';
CREATE INDEX jobs_of_keys ON jobs(ended_at_ms) WHERE key_id <> '';
)sql"}};

Result<void> do_step(Database& database, const Migration& step, std::int64_t version) {
  const std::string marks = "PRAGMA application_id=" + std::to_string(our_application_id) +
                            "; PRAGMA user_version=" + std::to_string(version) + ";";
  const auto begun = database.execute("BEGIN IMMEDIATE");
  auto done = begun ? database.script(step.sql) : begun;
  if (done) done = database.script(marks.c_str());
  if (done) done = database.execute("COMMIT");
  if (!done) database.roll_back();
  return done;
}

}  // namespace

std::span<const Migration> migrations() {
  return steps_of_this_llorch;
}

Result<std::int64_t> database_version(Database& database, const std::string& name,
                                      std::span<const Migration> steps) {
  const auto tables = database.integer("SELECT count(*) FROM sqlite_schema");
  if (!tables) return fail(tables.error());
  const auto owner = database.integer("PRAGMA application_id");
  if (!owner) return fail(owner.error());
  const auto version = database.integer("PRAGMA user_version");
  if (!version) return fail(version.error());
  if (*tables == 0 && *version == 0) return 0;
  if (*owner != our_application_id || *version < 0) {
    return fail(Code::invalid_request, "database " + name + " is another program's",
                "name another file");
  }
  const auto known = static_cast<std::int64_t>(steps.size());
  if (*version > known) {
    return fail(Code::conflict,
                "database " + name + " was written by a newer llorch: its version is " +
                    std::to_string(*version) + ", this program knows " + std::to_string(known),
                "install that llorch again, or restore a backup made before it: orchestratord "
                "restore FILE");
  }
  return *version;
}

Result<void> migrate(Database& database, const std::string& name,
                     std::span<const Migration> steps) {
  const auto version = database_version(database, name, steps);
  if (!version) return fail(version.error());
  for (auto next = static_cast<std::size_t>(*version); next < steps.size(); ++next) {
    const auto done = do_step(database, steps[next], static_cast<std::int64_t>(next) + 1);
    if (!done) return done;
  }
  return {};
}

}  // namespace llorch
