// The store in one SQLite file: write-ahead log, every commit synced, one process at a time.
// Threads: as Store; one thread writes, one reads. Lifetime: as Store.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "store/database_lock.h"
#include "store/read_thread.h"
#include "store/sqlite_writer.h"
#include "store/store.h"

namespace llorch {

class SqliteStore final : public Store {
 public:
  // Makes what is absent: the folder (0700), the file (0600) and its tables. `vfs` is SQLite's way
  // to the disk; empty is the system's.
  // Errors: conflict (in use by another process, or written by a newer llorch), invalid_request
  // (another program's database), forbidden, insufficient_storage, internal (damaged, or no
  // database at all). The message says which, `next` what to do.
  static Result<std::unique_ptr<SqliteStore>> open(const std::filesystem::path& path,
                                                   const std::string& vfs = {});

  Result<void> write(StoreWrite write, Done done) override;
  Result<void> read(Read task) override;
  Result<void> flush() override;
  // Blocks until the prompts of ended jobs are gone from the write-ahead log too; by itself that
  // happens within limits::store_wipe_ms of a job's end. Errors: those of a write.
  Result<void> wipe();
  StoreFigures figures() const { return writer_.figures(); }

 private:
  SqliteStore(DatabaseLock lock, Database writer, Database reader);
  Result<void> wait_for_mark(bool wipe);

  // In this order: the reader stops first, and the lock is given back last.
  DatabaseLock lock_;
  SqliteWriter writer_;
  ReadThread reader_;
};

}  // namespace llorch
