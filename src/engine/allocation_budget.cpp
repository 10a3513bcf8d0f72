#include "engine/allocation_budget.h"

#include <cassert>
#include <cstdlib>
#include <ctime>

#include "base/limits.h"

namespace llorch {
namespace {

struct Budget {
  bool active = false;
  bool spent = false;
  std::size_t bytes = 0;
  std::size_t bytes_max = 0;
  unsigned until_look = 0;  // allocations before the clock is read again
  std::chrono::nanoseconds deadline{};
};
thread_local Budget budget;

constexpr unsigned allocations_between_looks = 64;
// A JSON array of a whole body has a value in two bytes, and its destructor lists them, 16 bytes
// each.
constexpr std::size_t huge_bytes = 2 * (limits::body_bytes_max / 2) * 16;

std::chrono::nanoseconds processor_time() {
  timespec used{};
  if (::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) != 0) return {};
  return std::chrono::seconds{used.tv_sec} + std::chrono::nanoseconds{used.tv_nsec};
}

void charge(std::size_t bytes) {
  if (!budget.active) return;
  budget.bytes += bytes;
  if (budget.until_look-- == 0) {
    budget.until_look = allocations_between_looks;
    budget.spent = budget.spent || processor_time() > budget.deadline;
  }
  budget.spent = budget.spent || budget.bytes > budget.bytes_max;
  if (budget.spent && bytes >= huge_bytes) throw AllocationBudgetSpent{};
}

void* allocate(std::size_t bytes, std::size_t alignment) {
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

AllocationBudget::AllocationBudget(std::size_t bytes, std::chrono::milliseconds time) {
  assert(!budget.active);
  budget = {.active = true,
            .bytes_max = bytes,
            .until_look = allocations_between_looks,
            .deadline = processor_time() + time};
}

AllocationBudget::~AllocationBudget() {
  budget.active = false;
}

void AllocationBudget::check() {
  if (budget.active && budget.spent) throw AllocationBudgetSpent{};
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
