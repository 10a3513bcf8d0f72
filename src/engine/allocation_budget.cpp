#include "engine/allocation_budget.h"

#include <cassert>
#include <cstdint>
#include <cstdlib>
#include <pthread.h>

#include "base/limits.h"
#include "base/thread_time.h"

namespace llorch {
namespace {

struct Budget {
  bool active = false;
  bool spent = false;
  std::size_t bytes = 0;
  std::size_t bytes_max = 0;
  unsigned until_look = 0;  // at the clock
  std::chrono::nanoseconds deadline{};
  std::uintptr_t stack_floor = 0;  // no deeper
};
thread_local Budget budget;
thread_local std::uint64_t allocations = 0;

constexpr unsigned between_looks = 64;
constexpr unsigned question_counts = 4;  // as so many allocations
// Twice what a destructor may ask for: it lists the values of a JSON array, 16 bytes each, and a
// body has room for one in every two bytes.
constexpr std::size_t huge_bytes = 2 * (limits::body_bytes_max / 2) * 16;
static_assert(huge_bytes <= limits::template_bytes_max);

// A build without our patches has nobody who asks: better a rare end of the process than a hang.
#if defined(LLORCH_LLAMA_PATCHED)
constexpr bool is_asked = true;
#else
constexpr bool is_asked = false;
#endif

// A quarter of this thread's stack stays for what the interpreter calls.
std::uintptr_t stack_floor() {
  void* lowest = nullptr;
  std::size_t bytes = 0;
#if defined(__linux__)
  pthread_attr_t attributes;
  if (::pthread_getattr_np(::pthread_self(), &attributes) != 0) return 0;
  const bool known = ::pthread_attr_getstack(&attributes, &lowest, &bytes) == 0;
  ::pthread_attr_destroy(&attributes);
  if (!known) return 0;
#elif defined(__APPLE__)
  bytes = ::pthread_get_stacksize_np(::pthread_self());
  lowest = static_cast<char*>(::pthread_get_stackaddr_np(::pthread_self())) - bytes;
#endif
  return reinterpret_cast<std::uintptr_t>(lowest) + bytes / 4;
}

void count(unsigned steps) {
  if (budget.until_look > steps) {
    budget.until_look -= steps;
    return;
  }
  budget.until_look = between_looks;
  budget.spent = budget.spent || thread_time() > budget.deadline;
}

void charge(std::size_t bytes) {
  if (!budget.active) return;
  count(1);
  budget.bytes += bytes;
  budget.spent = budget.spent || budget.bytes > budget.bytes_max;
  if (budget.spent && (bytes >= huge_bytes || !is_asked)) throw AllocationBudgetSpent{};
}

void* allocate(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  charge(bytes);
  void* memory = nullptr;
  if (alignment <= alignof(std::max_align_t)) {
    memory = std::malloc(bytes == 0 ? 1 : bytes);
  } else {
    memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  }
  if (memory == nullptr) throw std::bad_alloc{};
  return memory;
}

}  // namespace

std::uint64_t allocations_of_this_thread() {
  return allocations;
}

AllocationBudget::AllocationBudget(std::size_t bytes, std::chrono::milliseconds time) {
  assert(!budget.active);
  budget = {.active = true,
            .bytes_max = bytes,
            .until_look = between_looks,
            .deadline = thread_time() + time,
            .stack_floor = stack_floor()};
}

AllocationBudget::~AllocationBudget() {
  budget.active = false;
}

void AllocationBudget::check() {
  if (!budget.active) return;
  count(question_counts);
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  if (budget.spent || here < budget.stack_floor) throw AllocationBudgetSpent{};
}

}  // namespace llorch

// The replaceable allocation functions of [new.delete]; array forms call these. The nothrow form is
// here too, for a sanitizer has its own of each that is left out.
void* operator new(std::size_t bytes) {
  return llorch::allocate(bytes, alignof(std::max_align_t));
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return llorch::allocate(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t& /*tag*/) noexcept {
  try {
    return ::operator new(bytes);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
