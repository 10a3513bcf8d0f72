// The cells of an empty KV cache are not written before they are used, so that a worker starts at
// once. Their pages are made behind its back: who asks for free memory next must not count them.
// Threads: register once before loading; a MemoryCommit has a thread of its own.
#pragma once

#include <thread>

namespace llorch {

// From now on large buffers are cleared without touching them, where llama.cpp is patched so.
void leave_memory_untouched();

// Of buffers that are gone again.
void forget_untouched_memory();

// Takes what was left untouched so far and has the kernel provide it, in pieces, at low priority.
// Lifetime: shorter than the buffers'.
class MemoryCommit {
 public:
  MemoryCommit();

 private:
  std::jthread thread_;
};

}  // namespace llorch
