// One connection to a SQLite file, with statements prepared once and values bound by type. Only
// src/store uses it, and only database.cpp and tests see sqlite3.h.
// Threads: one at a time. Lifetime: a Row lives as long as the call it is given to.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "base/clock.h"
#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace llorch {

struct Blob {
  std::string_view bytes;
};

// A value bound to a statement; views live as long as the call.
class Value {
 public:
  template <std::integral Whole>
  Value(Whole whole) : held_(static_cast<std::int64_t>(whole)) {}
  Value(std::string_view text) : held_(text) {}
  Value(const std::string& text) : held_(std::string_view(text)) {}
  Value(const char* text) : held_(std::string_view(text)) {}
  Value(Blob blob) : held_(blob) {}
  Value(std::nullptr_t) : held_(nullptr) {}
  template <class Some>
  Value(const std::optional<Some>& maybe) : Value(nullptr) {
    if (maybe) *this = Value(*maybe);
  }
  const auto& held() const { return held_; }

 private:
  std::variant<std::nullptr_t, std::int64_t, std::string_view, Blob> held_;
};

// The columns of one row, read from left to right.
class Row {
 public:
  explicit Row(sqlite3_stmt* statement) : statement_(statement) {}
  std::string text();  // of TEXT and BLOB; NULL is empty
  std::int64_t integer();
  std::optional<std::int64_t> integer_or_null();

 private:
  sqlite3_stmt* statement_;
  int column_ = 0;
};

class Database {
 public:
  enum class Mode { create, existing };
  using Each = std::function<void(Row&)>;
  using Values = std::span<const Value>;

  // `vfs`: SQLite's way to the disk; empty is the system's. Errors: not_found, forbidden, internal.
  // What is no database shows with the first statement.
  static Result<Database> open(const std::filesystem::path& path, Mode mode,
                               const std::string& vfs = {});
  Database(Database&&) noexcept;
  Database& operator=(Database&&) noexcept;
  ~Database();

  // Errors of the statements: insufficient_storage, timeout (busy, or past limit_time()),
  // conflict (a rule of the schema), too_large, insufficient_memory, internal.
  Result<void> execute(std::string_view sql, std::initializer_list<Value> values = {});
  Result<void> query(std::string_view sql, Values values, const Each& each);
  Result<void> query(std::string_view sql, std::initializer_list<Value> values, const Each& each);
  // The first column of the first row. Errors: not_found (no row).
  Result<std::int64_t> integer(std::string_view sql, std::initializer_list<Value> values = {});
  // Several statements without values, not kept.
  Result<void> script(const char* sql);

  // Rows that the last execute() changed.
  std::int64_t changes() const;
  // Ends an open transaction without its changes; none is success.
  void roll_back();
  // Copies the write-ahead log into the database and empties it. False: a reader was in the way
  // for `wait_ms`.
  Result<bool> truncate_log(std::int64_t wait_ms);
  // Takes the write-ahead log to the disk. Errors: timeout (another program copies it just now).
  Result<void> sync_log();
  // Statements fail with timeout from then on; nullopt: never.
  void limit_time(std::optional<SteadyTime> deadline);

 private:
  struct Connection;
  explicit Database(std::unique_ptr<Connection> connection);
  Result<sqlite3_stmt*> statement(std::string_view sql);
  Result<void> run(sqlite3_stmt* statement, Values values, const Each& each);

  std::unique_ptr<Connection> connection_;
};

}  // namespace llorch
