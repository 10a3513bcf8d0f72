#include "store/sqlite_store.h"

#include <future>
#include <utility>

#include "store/log_files.h"
#include "store/migrations.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

Result<void> prepare(Database& database, const std::string& name) {
  // First of all: a file of another program must not be changed, not even to a write-ahead log.
  const auto version = database_version(database, name);
  if (!version) return fail(version.error());
  std::string mode;
  const auto set =
      database.query("PRAGMA journal_mode=WAL", {}, [&](Row& row) { mode = row.text(); });
  if (!set) return set;
  if (mode != "wal") {
    return fail(Code::internal, "database " + name + " can have no write-ahead log here",
                "put it on a local disk");
  }
  if (const auto full = database.script("PRAGMA synchronous=FULL"); !full) return full;
  if (const auto migrated = migrate(database, name); !migrated) return migrated;
  // The checks of the schema are for other programs: what we write are enumerators, and
  // check_write() has seen it. SQLite would build three tables of the allowed words for each row.
  // A longer log is copied back less often, and a page that has changed ten times once: 16 MiB are
  // read in 30 ms at a start.
  return database.script("PRAGMA ignore_check_constraints=ON; PRAGMA wal_autocheckpoint=4000");
}

}  // namespace

std::size_t bytes_of(const StoreWrite& write) {
  struct Count {
    std::size_t operator()(const InsertJob& insert) const { return insert.job.body.size(); }
    std::size_t operator()(const FoldFrames& fold) const { return fold.blob.size(); }
    std::size_t operator()(const AppendDecision& append) const {
      return append.decision.json.size();
    }
    std::size_t operator()(const UpsertWorker& upsert) const {
      return upsert.worker.metadata_json.size();
    }
    std::size_t operator()(const UpdateJob& update) const {
      return update.error_message ? update.error_message->size() : 0;
    }
    std::size_t operator()(const UpsertKey& upsert) const { return upsert.key.models_json.size(); }
    std::size_t operator()(const RemoveWorker&) const { return 0; }
    std::size_t operator()(const RemoveJob&) const { return 0; }
    std::size_t operator()(const EndAbandoned&) const { return 0; }
    std::size_t operator()(const DeleteOlder&) const { return 0; }
  };
  return sizeof(StoreWrite) + std::visit(Count{}, write);
}

Result<std::unique_ptr<SqliteStore>> SqliteStore::open(const fs::path& path,
                                                       const std::string& vfs) {
  // One spelling of the path, or two processes could hold two locks.
  std::error_code ignored;
  fs::path real = fs::weakly_canonical(path, ignored);
  if (real.empty()) real = path;
  const auto folder = make_private_folder(real.has_parent_path() ? real.parent_path() : ".");
  if (!folder) return fail(folder.error());
  auto lock = DatabaseLock::take(real);
  if (!lock) return fail(lock.error());
  if (const auto made = make_private_file(real); !made) return fail(made.error());
  auto writer = Database::open(real, Database::Mode::create, vfs);
  if (!writer) return fail(writer.error());
  if (const auto ready = prepare(*writer, real.string()); !ready) return fail(ready.error());
  auto reader = Database::open(real, Database::Mode::existing, vfs);
  if (!reader) return fail(reader.error());
  if (const auto set = reader->script("PRAGMA query_only=ON"); !set) return fail(set.error());
  return std::unique_ptr<SqliteStore>(
      new SqliteStore(std::move(*lock), std::move(*writer), std::move(*reader)));
}

SqliteStore::SqliteStore(DatabaseLock lock, Database writer, Database reader)
    : lock_(std::move(lock)), writer_(std::move(writer)), reader_(std::move(reader)) {}

Result<void> SqliteStore::write(StoreWrite write, Done done) {
  return writer_.post(std::make_unique<StoreWrite>(std::move(write)), std::move(done));
}

Result<void> SqliteStore::read(Read task) {
  return reader_.post(std::move(task));
}

Result<void> SqliteStore::flush() {
  return wait_for_mark(false);
}

Result<void> SqliteStore::wipe() {
  return wait_for_mark(true);
}

Result<void> SqliteStore::wait_for_mark(bool wipe) {
  const auto answer = std::make_shared<std::promise<Result<void>>>();
  auto given = answer->get_future();
  const auto posted = writer_.post(
      nullptr, [answer](Result<void> done) { answer->set_value(std::move(done)); }, wipe);
  if (!posted) return posted;
  return given.get();
}

}  // namespace llorch
