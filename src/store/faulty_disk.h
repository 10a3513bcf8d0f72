// For tests: the system's disk as SQLite sees it, with faults of a test's choice.
// Threads: any; one fault at a time for all files.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <sqlite3.h>

namespace llorch {

class FaultyDisk {
 public:
  // What writes give once `writes_left` of them have passed, and what syncs give; 0 is no fault.
  static inline std::atomic<int> write_fault = 0;  // SQLITE_FULL, SQLITE_IOERR_WRITE, …
  static inline std::atomic<int> writes_left = 0;
  static inline std::atomic<int> sync_fault = 0;  // SQLITE_IOERR_FSYNC

  static void heal() {
    write_fault = 0;
    writes_left = 0;
    sync_fault = 0;
  }

  // The name to open a database with; registered once.
  static const char* vfs() {
    static const bool registered = [] {
      static sqlite3_vfs disk = *sqlite3_vfs_find(nullptr);
      real() = sqlite3_vfs_find(nullptr);
      disk.zName = "faulty";
      disk.pNext = nullptr;
      disk.xOpen = &open;
      return sqlite3_vfs_register(&disk, 0) == SQLITE_OK;
    }();
    return registered ? "faulty" : "";
  }

 private:
  // A copy of SQLite's own table for a kind of file, with two entries changed.
  struct Methods {
    sqlite3_io_methods changed;  // first: a file points here
    const sqlite3_io_methods* real;
  };

  static sqlite3_vfs*& real() {
    static sqlite3_vfs* vfs = nullptr;
    return vfs;
  }

  static const sqlite3_io_methods* real_of(sqlite3_file* file) {
    return reinterpret_cast<const Methods*>(file->pMethods)->real;
  }

  static int write(sqlite3_file* file, const void* bytes, int count, sqlite3_int64 offset) {
    const int fault = write_fault;
    if (fault != 0 && writes_left-- <= 0) return fault;
    return real_of(file)->xWrite(file, bytes, count, offset);
  }
  static int sync(sqlite3_file* file, int flags) {
    const int fault = sync_fault;
    return fault != 0 ? fault : real_of(file)->xSync(file, flags);
  }

  static int open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out) {
    static std::mutex mutex;
    static std::map<const sqlite3_io_methods*, std::unique_ptr<Methods>> known;
    const int code = real()->xOpen(real(), name, file, flags, out);
    if (code != SQLITE_OK || file->pMethods == nullptr) return code;
    const std::lock_guard lock(mutex);
    auto& methods = known[file->pMethods];
    if (!methods) {
      methods = std::make_unique<Methods>(Methods{*file->pMethods, file->pMethods});
      methods->changed.xWrite = &write;
      methods->changed.xSync = &sync;
    }
    file->pMethods = &methods->changed;
    return code;
  }
};

}  // namespace llorch
