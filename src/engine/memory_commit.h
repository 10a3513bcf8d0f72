// The cells of an empty KV cache are not written before they are used, so that a worker starts at
// once. Their pages are made behind its back: who asks for free memory next must not count them.
// But slowly while a job runs: both want the processor and the lock of the process's memory, and
// the job's first token came up to a second later by it. Threads: register once before loading; a
// MemoryCommit has a thread of its own.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

namespace llorch {

// From now on large buffers are cleared without touching them, where llama.cpp is patched so.
void leave_memory_untouched();

// Of buffers that are gone again.
void forget_untouched_memory();

// Takes what was left untouched so far and has the kernel provide it, in pieces, at low priority:
// one after the other while it may, else 5 MiB a second, so that it ends under any load. Lifetime:
// shorter than the buffers'.
class MemoryCommit {
 public:
  MemoryCommit();
  // From the next piece on; at first it may. Threads: one.
  void allow(bool allowed);

 private:
  bool wait_for_turn(const std::stop_token& stop);

  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool told_ = true;  // what allow() said last, for its thread
  bool allowed_ = true;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace llorch
