// A bound on the time and memory of foreign code that has none of its own: while one is alive,
// every operator new on this thread first asks whether the budget is spent, and throws if so. The
// Jinja interpreter allocates on every statement and every loop turn, so it cannot run on.
// Threads: guards the thread that made it. Lifetime: a scope; they do not nest.
#pragma once

#include <chrono>
#include <cstddef>
#include <new>

namespace llorch {

class AllocationBudgetSpent final : public std::bad_alloc {
 public:
  const char* what() const noexcept override { return "it ran past its time or memory limit"; }
};

class AllocationBudget {
 public:
  AllocationBudget(std::size_t bytes, std::chrono::milliseconds time);
  ~AllocationBudget();
  AllocationBudget(const AllocationBudget&) = delete;
  AllocationBudget& operator=(const AllocationBudget&) = delete;

  // True when an allocation has been refused.
  bool spent() const;
};

}  // namespace llorch
