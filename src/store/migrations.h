// How a database of an older llorch becomes one of this: a table of steps, and PRAGMA user_version
// says how many were done. Threads: one.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "store/database.h"

namespace llorch {

struct Migration {
  const char* sql;
};

// Of the schema of this llorch. A step that was released is never changed; new ones are appended.
std::span<const Migration> migrations();

// Whether this is a database of llorch that this program can read; gives its version, 0 when it is
// empty. Errors: invalid_request (another program's), conflict (a newer llorch's), internal.
Result<std::int64_t> database_version(Database& database, const std::string& name,
                                      std::span<const Migration> steps = migrations());

// Does the steps that are missing, each whole or not at all. Errors: those of database_version(),
// and of a write.
Result<void> migrate(Database& database, const std::string& name,
                     std::span<const Migration> steps = migrations());

}  // namespace llorch
