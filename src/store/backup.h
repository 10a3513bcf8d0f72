// Copies of the database: `orchestratord backup|restore FILE`. Threads: one; blocks.
#pragma once

#include <filesystem>

#include "base/result.h"

namespace llorch {

// Writes a consistent copy (0600) of a database, which may be in use, to a file that must not
// exist: a temporary file beside it, fsync, rename.
// Errors: conflict (the file exists; a newer llorch's database), not_found (no database),
// invalid_request (another program's), insufficient_storage, forbidden, timeout, internal.
Result<void> backup_database(const std::filesystem::path& database,
                             const std::filesystem::path& to);

// Puts a checked copy of a backup in the place of a database: the old one, or the whole new one.
// The event log beside it keeps frames of jobs that the backup may not know: whoever opens it
// forgets those.
// Errors: conflict (the database is in use, the message names the process; a newer llorch's
// backup), not_found (no such backup), invalid_request (another program's file), internal (the
// backup is damaged), insufficient_storage, forbidden.
Result<void> restore_database(const std::filesystem::path& from,
                              const std::filesystem::path& database);

}  // namespace llorch
