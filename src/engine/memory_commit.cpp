#include "engine/memory_commit.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <ggml-backend.h>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#ifdef __linux__
#include <sys/mman.h>
#include <sys/resource.h>
#endif

namespace llorch {
namespace {

constexpr std::chrono::milliseconds slow_pause{200};  // between two pieces, while a job runs

using Ranges = std::vector<std::span<std::byte>>;

std::mutex mutex;
Ranges untouched;  // told by llama.cpp, under the mutex

#if defined(__linux__) && defined(LLORCH_LLAMA_PATCHED)
constexpr std::size_t piece_bytes = 1 << 20;  // a stop, and a job, wait for one piece
constexpr int populate_write = 23;            // MADV_POPULATE_WRITE, Linux 5.14

void note_untouched(void* base, std::size_t size) {
  const std::lock_guard lock(mutex);
  untouched.emplace_back(static_cast<std::byte*>(base), size);
}

void populate(const Ranges& ranges, const std::function<bool()>& wait_for_turn) {
  setpriority(PRIO_PROCESS, 0, 19);
  for (auto range : ranges) {
    while (!range.empty() && wait_for_turn()) {
      const auto piece = range.first(std::min(range.size(), piece_bytes));
      // An older kernel refuses: the pages then come with their first use.
      if (madvise(piece.data(), piece.size(), populate_write) != 0) break;
      range = range.subspan(piece.size());
    }
  }
}
#else
void populate(const Ranges&, const std::function<bool()>&) {}
#endif

}  // namespace

void leave_memory_untouched() {
#if defined(__linux__) && defined(LLORCH_LLAMA_PATCHED)
  ggml_backend_cpu_on_untouched(note_untouched);
#endif
}

void forget_untouched_memory() {
  const std::lock_guard lock(mutex);
  untouched.clear();
}

MemoryCommit::MemoryCommit() {
  const std::lock_guard lock(mutex);
  thread_ = std::jthread([this, ranges = std::exchange(untouched, {})](const auto& stop) {
    populate(ranges, [&] { return wait_for_turn(stop); });
  });
}

void MemoryCommit::allow(bool allowed) {
  if (std::exchange(told_, allowed) == allowed) return;  // asked at each step
  {
    const std::lock_guard lock(mutex_);
    allowed_ = allowed;
  }
  if (allowed) changed_.notify_one();
}

// False: it is to end.
bool MemoryCommit::wait_for_turn(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, stop, slow_pause, [&] { return allowed_; });
  return !stop.stop_requested();
}

}  // namespace llorch
