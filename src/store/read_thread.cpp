#include "store/read_thread.h"

#include <utility>

#include "base/limits.h"

namespace llorch {

ReadThread::ReadThread(Database database)
    : reader_(std::move(database)), thread_([this] { run(); }) {}

ReadThread::~ReadThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  posted_.notify_one();
  thread_.join();
}

Result<void> ReadThread::post(Store::Read task) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return fail(Code::draining, "the store is closing");
    if (tasks_.size() >= limits::store_reads_max) {
      return fail(Code::queue_full, std::to_string(tasks_.size()) + " reads wait for the disk");
    }
    tasks_.push_back(std::move(task));
  }
  posted_.notify_one();
  return {};
}

void ReadThread::run() {
  while (true) {
    Store::Read task;
    {
      std::unique_lock lock(mutex_);
      posted_.wait(lock, [&] { return stopping_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    reader_.run(task);
  }
}

}  // namespace llorch
