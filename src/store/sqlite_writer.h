// The one thread that writes to the database: whatever waits goes into one transaction, so that
// many waiting writers share one fsync; one that nobody waits for ends without, and outlives the
// process but not the machine until the next. When the disk is full or fails, those who wait are
// told, what is written behind stays in the inbox, and a small transaction is tried now and then.
// Threads: post() and figures() any; callbacks run on this thread. Lifetime: the destructor writes
// what waits, once more tries what could not be written, and joins.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "store/database.h"
#include "store/sqlite_writes.h"
#include "store/store.h"

namespace llorch {

struct StoreFigures {
  std::uint64_t writes = 0;   // committed
  std::uint64_t commits = 0;  // transactions they took
  std::uint64_t failed_commits = 0;
  std::size_t waiting = 0;
  bool failing = false;  // the last transaction failed
};

class SqliteWriter {
 public:
  explicit SqliteWriter(Database database);
  ~SqliteWriter();
  SqliteWriter(const SqliteWriter&) = delete;
  SqliteWriter& operator=(const SqliteWriter&) = delete;

  // A write, see Store::write(); or with null a mark, done once all before it is. With `wipe` the
  // write-ahead log is emptied then. Errors: queue_full, draining.
  Result<void> post(std::unique_ptr<StoreWrite> write, Store::Done done, bool wipe = false);
  StoreFigures figures() const;

 private:
  struct Pending {
    std::unique_ptr<StoreWrite> write;  // a large thing, and it is passed on a few times
    Store::Done done;
    bool wipe = false;
    std::size_t bytes = 0;
    SteadyTime due;  // of a write behind
  };
  struct Outcome {
    Result<void> result;
    Applied applied;
  };
  using Batch = std::vector<Pending>;

  void run();
  // False: stopping, and nothing is left.
  bool wait_for_batch(Batch& batch);
  std::optional<SteadyTime> wake_at() const;
  Batch take_batch();
  void commit(Batch batch);
  Result<std::vector<Outcome>> write_batch(const Batch& batch);
  Result<void> choose_sync(bool waited);
  void sync_for_marks(const Batch& batch, std::vector<Outcome>& outcomes);
  void tell(Batch& batch, const std::vector<Outcome>& outcomes);
  void put_back(Batch batch, const Error& error);
  void put_last(Pending pending);
  void note_failure(const Error& error);
  void note_success(std::size_t writes);
  void wipe_when_due();
  Result<void> wipe();

  // The writer's thread only.
  Database database_;
  bool syncs_ = true;      // a commit ends with an fsync
  bool unsynced_ = false;  // some have not, since the last that did

  mutable std::mutex mutex_;
  std::condition_variable posted_;
  std::deque<Pending> inbox_;
  std::size_t inbox_bytes_ = 0;
  std::size_t urgent_ = 0;  // of the inbox, those with somebody waiting
  bool stopping_ = false;
  std::optional<SteadyTime> retry_at_;  // set while failing
  std::optional<SteadyTime> wipe_at_;   // set while ended prompts are in the write-ahead log
  StoreFigures figures_;
  std::thread thread_;
};

}  // namespace llorch
