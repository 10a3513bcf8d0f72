// One process a database: FILE.lock is held as long as this lives, and names the holder.
// Threads: any. Lifetime: the kernel gives the lock back when the process dies.
#pragma once

#include <filesystem>

#include "base/result.h"

namespace llorch {

class DatabaseLock {
 public:
  // Errors: conflict (another process has the database; the message names its pid), forbidden,
  // not_found (no such folder), internal. Source: flock(2).
  static Result<DatabaseLock> take(const std::filesystem::path& database);
  DatabaseLock(DatabaseLock&& other) noexcept;
  DatabaseLock& operator=(DatabaseLock&& other) noexcept;
  ~DatabaseLock();

 private:
  explicit DatabaseLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

// Makes the folder (0700) and the file (0600) where they are absent, and takes others' rights away
// from a file that is there and from what SQLite keeps beside it. Before the file is opened:
// closing it later would give up SQLite's own locks. Errors: forbidden, insufficient_storage,
// internal.
Result<void> make_private_file(const std::filesystem::path& path);

}  // namespace llorch
