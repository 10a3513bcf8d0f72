#include "engine/memory_commit.h"

#include <algorithm>
#include <cstddef>
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

using Ranges = std::vector<std::span<std::byte>>;

std::mutex mutex;
Ranges untouched;  // told by llama.cpp, under the mutex

#if defined(__linux__) && defined(LLORCH_LLAMA_PATCHED)
constexpr std::size_t piece_bytes = 4 << 20;  // a stop waits for one piece
constexpr int populate_write = 23;            // MADV_POPULATE_WRITE, Linux 5.14

void note_untouched(void* base, std::size_t size) {
  const std::lock_guard lock(mutex);
  untouched.emplace_back(static_cast<std::byte*>(base), size);
}

void populate(const Ranges& ranges, const std::stop_token& stop) {
  setpriority(PRIO_PROCESS, 0, 19);
  for (auto range : ranges) {
    while (!range.empty() && !stop.stop_requested()) {
      const auto piece = range.first(std::min(range.size(), piece_bytes));
      // An older kernel refuses: the pages then come with their first use.
      if (madvise(piece.data(), piece.size(), populate_write) != 0) break;
      range = range.subspan(piece.size());
    }
  }
}
#else
void populate(const Ranges&, const std::stop_token&) {}
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
  thread_ = std::jthread([ranges = std::exchange(untouched, {})](const std::stop_token& stop) {
    populate(ranges, stop);
  });
}

}  // namespace llorch
