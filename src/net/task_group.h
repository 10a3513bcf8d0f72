// Coroutines that belong together: spawned, cancelled and joined as one. Nothing runs detached.
// Threads: the executor's one thread.
// Lifetime: the owner cancels and joins before what the tasks use goes away. Destroying the group
// asks what still runs to stop, and does not wait.
#pragma once

#include <memory>

#include "net/asio.h"

namespace llorch::net {

class TaskGroup {
 public:
  explicit TaskGroup(Executor executor);
  ~TaskGroup();
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  // On the io thread `task` runs at once, up to its first wait; before that thread runs, it is
  // started by it. An exception it lets out is logged as an error, but for the one by which Asio
  // unwinds a cancelled coroutine. After cancel() it still runs up to its first wait, which ends at
  // once.
  void spawn(Task<void> task);
  // Every running task: its wait ends with operation_aborted, and its next co_await throws.
  void cancel();
  // Resolves once no task runs. Any number of coroutines may join, none of them a member.
  Task<void> join();
  std::size_t size() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace llorch::net
