#include "store/database.h"

#include <cassert>
#include <cerrno>
#include <sqlite3.h>
#include <utility>

#include "base/limits.h"

namespace llorch {
namespace {

struct CloseStatement {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using OwnedStatement = std::unique_ptr<sqlite3_stmt, CloseStatement>;

constexpr int operations_between_looks = 20'000;  // some 0.5 ms

constexpr const char* restore_hint =
    "put a backup in its place: orchestratord restore FILE; or move the file away to start empty";

std::unexpected<Error> no_room(std::string message) {
  return fail(Code::insufficient_storage, std::move(message) + ": the disk is full",
              "free some disk space; nothing needs a restart");
}

// An input or output error carries the system's reason, which tells a full disk from a broken one.
std::unexpected<Error> fail_io(sqlite3* connection, std::string message) {
  const int number = sqlite3_system_errno(connection);
  if (number == ENOSPC || number == EDQUOT) return no_room(std::move(message));
  return fail(Code::internal, std::move(message) + ": " + sqlite3_errmsg(connection),
              "the disk fails: the kernel's log (dmesg) says more");
}

std::unexpected<Error> fail_open(sqlite3* connection, std::string message) {
  const int number = sqlite3_system_errno(connection);
  message += std::string(": ") + sqlite3_errmsg(connection);
  if (number == ENOENT || number == ENOTDIR) return fail(Code::not_found, std::move(message));
  if (number == EACCES || number == EPERM || number == EROFS) {
    return fail(Code::forbidden, std::move(message), "check the owner and mode of the folder");
  }
  return fail(Code::internal, std::move(message));
}

}  // namespace

struct Database::Connection {
  ~Connection() {
    statements.clear();
    // Never fails: all statements are gone.
    sqlite3_close_v2(handle);
  }

  std::unexpected<Error> failure(int code) {
    std::string message = "database " + path;
    switch (code & 0xff) {
      case SQLITE_FULL:
        return no_room(std::move(message));
      case SQLITE_IOERR:
        return fail_io(handle, std::move(message));
      case SQLITE_CANTOPEN:
        return fail_open(handle, std::move(message));
      case SQLITE_READONLY:
        return fail(Code::internal, message + ": it cannot be written to, only read",
                    "mount the disk for writing, or check the owner and mode of the file");
      case SQLITE_CORRUPT:
        return fail(Code::internal, message + " is damaged", restore_hint);
      case SQLITE_NOTADB:
        return fail(Code::internal, message + " is no SQLite database, or damaged", restore_hint);
      case SQLITE_BUSY:
      case SQLITE_LOCKED:
        return fail(Code::timeout, message + " is held by another program",
                    "close what has it open");
      case SQLITE_INTERRUPT:
        return fail(Code::timeout, message + ": a read took too long", "ask for less");
      case SQLITE_CONSTRAINT:
        return fail(Code::conflict, message + ": " + sqlite3_errmsg(handle));
      case SQLITE_TOOBIG:
        return fail(Code::too_large, message + ": a value is too large");
      case SQLITE_NOMEM:
        return fail(Code::insufficient_memory, message + ": no memory");
      default:
        return fail(Code::internal, message + ": " + sqlite3_errmsg(handle));
    }
  }

  static int look_at_time(void* self) {
    const auto& deadline = static_cast<Connection*>(self)->deadline;
    return deadline && std::chrono::steady_clock::now() > *deadline ? 1 : 0;
  }

  std::string path;
  sqlite3* handle = nullptr;
  std::map<std::string, OwnedStatement, std::less<>> statements;  // bounded by our own SQL texts
  std::optional<SteadyTime> deadline;
};

std::string Row::text() {
  const int column = column_++;
  // The bytes first, then their count: SQLite's own order.
  const void* const bytes = sqlite3_column_blob(statement_, column);
  const int count = sqlite3_column_bytes(statement_, column);
  if (bytes == nullptr || count <= 0) return {};
  return {static_cast<const char*>(bytes), static_cast<std::size_t>(count)};
}
std::int64_t Row::integer() {
  return sqlite3_column_int64(statement_, column_++);
}
std::optional<std::int64_t> Row::integer_or_null() {
  if (sqlite3_column_type(statement_, column_) == SQLITE_NULL) {
    ++column_;
    return std::nullopt;
  }
  return integer();
}

Database::Database(std::unique_ptr<Connection> connection) : connection_(std::move(connection)) {}
Database::Database(Database&&) noexcept = default;
Database& Database::operator=(Database&&) noexcept = default;
Database::~Database() = default;

Result<Database> Database::open(const std::filesystem::path& path, Mode mode,
                                const std::string& vfs) {
  auto connection = std::make_unique<Connection>();
  connection->path = path.string();
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_EXRESCODE |
                    (mode == Mode::create ? SQLITE_OPEN_CREATE : 0);
  const int code = sqlite3_open_v2(path.c_str(), &connection->handle, flags,
                                   vfs.empty() ? nullptr : vfs.c_str());
  if (code != SQLITE_OK) return connection->failure(code);
  sqlite3_busy_timeout(connection->handle, static_cast<int>(limits::store_busy_ms));
  Database database(std::move(connection));
  const std::string settings =
      "PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON;"
      "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"
      "PRAGMA cache_size=-" +
      std::to_string(limits::store_memory_bytes / limits::kib) + ";";
  if (const auto set = database.script(settings.c_str()); !set) return fail(set.error());
  return database;
}

Result<sqlite3_stmt*> Database::statement(std::string_view sql) {
  auto& statements = connection_->statements;
  const auto known = statements.find(sql);
  if (known != statements.end()) return known->second.get();
  sqlite3_stmt* made = nullptr;
  const int code = sqlite3_prepare_v3(connection_->handle, sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &made, nullptr);
  if (code != SQLITE_OK) return connection_->failure(code);
  return statements.emplace(std::string(sql), OwnedStatement(made)).first->second.get();
}

namespace {

int bind(sqlite3_stmt* statement, int index, const Value& value) {
  // SQLITE_STATIC: the bindings are cleared before the views end. A null pointer would be NULL.
  struct Bind {
    sqlite3_stmt* statement;
    int index;
    int operator()(std::nullptr_t) const { return sqlite3_bind_null(statement, index); }
    int operator()(std::int64_t whole) const { return sqlite3_bind_int64(statement, index, whole); }
    int operator()(std::string_view text) const {
      return sqlite3_bind_text64(statement, index, text.empty() ? "" : text.data(), text.size(),
                                 SQLITE_STATIC, SQLITE_UTF8);
    }
    int operator()(Blob blob) const {
      const auto& bytes = blob.bytes;
      return sqlite3_bind_blob64(statement, index, bytes.empty() ? "" : bytes.data(), bytes.size(),
                                 SQLITE_STATIC);
    }
  };
  return std::visit(Bind{statement, index}, value.held());
}

// Leaves a statement ready for its next use, whatever happened in this one.
class Used {
 public:
  explicit Used(sqlite3_stmt* statement) : statement_(statement) {}
  Used(const Used&) = delete;
  ~Used() {
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }

 private:
  sqlite3_stmt* statement_;
};

}  // namespace

Result<void> Database::run(sqlite3_stmt* statement, Values values, const Each& each) {
  const Used used(statement);
  for (std::size_t index = 0; index < values.size(); ++index) {
    const int code = bind(statement, static_cast<int>(index) + 1, values[index]);
    if (code != SQLITE_OK) return connection_->failure(code);
  }
  int code = SQLITE_ROW;
  while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
    Row row(statement);
    if (each) each(row);
  }
  if (code != SQLITE_DONE) return connection_->failure(code);
  return {};
}

Result<void> Database::execute(std::string_view sql, std::initializer_list<Value> values) {
  return query(sql, Values(values.begin(), values.size()), {});
}

Result<void> Database::query(std::string_view sql, std::initializer_list<Value> values,
                             const Each& each) {
  return query(sql, Values(values.begin(), values.size()), each);
}

Result<void> Database::query(std::string_view sql, Values values, const Each& each) {
  const auto prepared = statement(sql);
  if (!prepared) return fail(prepared.error());
  return run(*prepared, values, each);
}

Result<std::int64_t> Database::integer(std::string_view sql, std::initializer_list<Value> values) {
  std::optional<std::int64_t> first;
  const auto asked = query(sql, values, [&](Row& row) {
    if (!first) first = row.integer();
  });
  if (!asked) return fail(asked.error());
  if (!first) return fail(Code::not_found, "no row");
  return *first;
}

Result<void> Database::script(const char* sql) {
  const int code = sqlite3_exec(connection_->handle, sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return connection_->failure(code);
  return {};
}

std::int64_t Database::changes() const {
  return sqlite3_changes64(connection_->handle);
}

void Database::roll_back() {
  // After some errors SQLite has rolled back by itself; otherwise a rollback only fails where the
  // disk does, and the transaction is over all the same.
  if (sqlite3_get_autocommit(connection_->handle) == 0) static_cast<void>(execute("ROLLBACK"));
}

Result<bool> Database::truncate_log(std::int64_t wait_ms) {
  sqlite3* const handle = connection_->handle;
  sqlite3_busy_timeout(handle, static_cast<int>(wait_ms));
  const int code =
      sqlite3_wal_checkpoint_v2(handle, nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  sqlite3_busy_timeout(handle, static_cast<int>(limits::store_busy_ms));
  if ((code & 0xff) == SQLITE_BUSY) return false;
  if (code != SQLITE_OK) return connection_->failure(code);
  return true;
}

Result<void> Database::sync_log() {
  // A checkpoint begins with the log's fsync; what readers still need of it stays there.
  const int code = sqlite3_wal_checkpoint_v2(connection_->handle, nullptr,
                                             SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  if (code != SQLITE_OK) return connection_->failure(code);
  return {};
}

void Database::limit_time(std::optional<SteadyTime> deadline) {
  connection_->deadline = deadline;
  sqlite3_progress_handler(connection_->handle, deadline ? operations_between_looks : 0,
                           &Connection::look_at_time, connection_.get());
}

}  // namespace llorch
