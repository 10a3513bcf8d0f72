// The processor time of the calling thread: what its own work took, whoever else was running.
// Threads: any.
#pragma once

#include <chrono>
#include <ctime>

namespace llorch {

// Zero where the system does not tell.
inline std::chrono::nanoseconds thread_time() {
  timespec used{};
  if (::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) != 0) return {};
  return std::chrono::seconds{used.tv_sec} + std::chrono::nanoseconds{used.tv_nsec};
}

}  // namespace llorch
