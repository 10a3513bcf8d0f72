#include "engine/allocation_budget.h"

#include <cassert>
#include <cstdlib>

namespace llorch {
namespace {

struct Budget {
  bool active = false;
  bool spent = false;
  std::size_t bytes_left = 0;
  unsigned until_look = 0;  // allocations before the clock is read again
  std::chrono::steady_clock::time_point deadline;
};
thread_local Budget budget;

constexpr unsigned allocations_between_looks = 64;

void charge(std::size_t bytes) {
  if (!budget.active) return;
  if (!budget.spent && budget.until_look-- == 0) {
    budget.until_look = allocations_between_looks;
    budget.spent = std::chrono::steady_clock::now() > budget.deadline;
  }
  if (bytes > budget.bytes_left) budget.spent = true;
  if (budget.spent) throw AllocationBudgetSpent{};
  budget.bytes_left -= bytes;
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
            .spent = false,
            .bytes_left = bytes,
            .until_look = allocations_between_looks,
            .deadline = std::chrono::steady_clock::now() + time};
}

AllocationBudget::~AllocationBudget() {
  budget.active = false;
}

bool AllocationBudget::spent() const {
  return budget.spent;
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
