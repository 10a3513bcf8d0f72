#include "engine/task_thread.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <pthread.h>
#include <string>
#include <system_error>
#include <utility>

namespace llorch {

struct TaskThread::State {
  std::mutex mutex;
  std::condition_variable posted;
  std::deque<Task> tasks;
  bool stopping = false;
  pthread_t thread{};

  void run() {
    while (true) {
      Task task;
      {
        std::unique_lock lock(mutex);
        posted.wait(lock, [&] { return stopping || !tasks.empty(); });
        if (stopping) return;
        task = std::move(tasks.front());
        tasks.pop_front();
      }
      task();
    }
  }
};

TaskThread::TaskThread(const char* name, std::size_t stack_bytes) : state_(new State) {
  // std::thread cannot be given a stack size.
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, stack_bytes);
  const auto body = [](void* state) -> void* {
    static_cast<State*>(state)->run();
    return nullptr;
  };
  const int failed = pthread_create(&state_->thread, &attributes, body, state_);
  pthread_attr_destroy(&attributes);
  if (failed != 0) {  // a limit on address space or threads
    delete state_;
    throw std::system_error(failed, std::generic_category(), std::string("thread ") + name);
  }
#ifdef __linux__
  pthread_setname_np(state_->thread, name);
#else
  static_cast<void>(name);
#endif
}

TaskThread::~TaskThread() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->posted.notify_one();
  pthread_join(state_->thread, nullptr);
  delete state_;
}

void TaskThread::post(Task task) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->tasks.push_back(std::move(task));
  }
  state_->posted.notify_one();
}

}  // namespace llorch
