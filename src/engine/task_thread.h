// One thread that runs posted tasks in order: work that may be slow, off the engine and net
// threads. Threads: post() any. Lifetime: the destructor drops what has not begun and joins.
#pragma once

#include <cstddef>
#include <functional>

namespace llorch {

class TaskThread {
 public:
  using Task = std::function<void()>;

  // `stack_bytes`: address space for its stack.
  TaskThread(const char* name, std::size_t stack_bytes);
  ~TaskThread();
  TaskThread(const TaskThread&) = delete;
  TaskThread& operator=(const TaskThread&) = delete;

  // Shape: callers bound how much they post (jobs and requests are bounded at the edge).
  void post(Task task);

 private:
  struct State;
  State* state_;  // joined and freed by the destructor; a pthread needs a plain pointer
};

}  // namespace llorch
