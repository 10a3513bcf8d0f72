// The one thread that reads the database, beside the writer's.
// Threads: post() any. Lifetime: the destructor runs the reads that wait, and joins.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "store/sqlite_reader.h"

namespace llorch {

class ReadThread {
 public:
  explicit ReadThread(Database database);
  ~ReadThread();
  ReadThread(const ReadThread&) = delete;
  ReadThread& operator=(const ReadThread&) = delete;

  // Errors: queue_full, draining.
  Result<void> post(Store::Read task);

 private:
  void run();

  SqliteReader reader_;  // the thread's only
  std::mutex mutex_;
  std::condition_variable posted_;
  std::deque<Store::Read> tasks_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace llorch
