// A bound on the time, memory and stack of foreign code that has none of its own, the Jinja
// interpreter: while one is alive, every operator new on this thread counts. What is spent shows
// where the interpreter asks (third_party/patches/0006); not at an allocation, for a destructor may
// make one and must not throw. Only one so huge that no destructor makes it is refused where it is.
// Threads: guards the thread that made it. Lifetime: a scope; they do not nest.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <new>

namespace llorch {

class AllocationBudgetSpent final : public std::bad_alloc {
 public:
  const char* what() const noexcept override { return "it ran past its time or memory limit"; }
};

// How often this thread has called operator new so far.
std::uint64_t allocations_of_this_thread();

class AllocationBudget {
 public:
  // `time`: of this thread's processor, so that a busy machine refuses nothing.
  AllocationBudget(std::size_t bytes, std::chrono::milliseconds time);
  ~AllocationBudget();
  AllocationBudget(const AllocationBudget&) = delete;
  AllocationBudget& operator=(const AllocationBudget&) = delete;

  // Errors: throws AllocationBudgetSpent if this thread has a budget and it is spent.
  static void check();
};

}  // namespace llorch
