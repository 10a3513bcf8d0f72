// SIGINT and SIGTERM noted instead of obeyed, while something must be tidied up first.
// Threads: the main one; signals are the whole process's.
#pragma once

#include <signal.h>

namespace llorch {

// While one lives the first of the two signals is only noted, and a second one ends the process at
// once. One that was ignored before (nohup) stays ignored. Lifetime: may be nested.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  struct sigaction interrupt_{};
  struct sigaction terminate_{};
};

// The signal noted under any guard of this process; 0 = none.
int interrupt_number();
// Ends the process by the signal, as if nobody had noted it.
[[noreturn]] void die_of(int number);

}  // namespace llorch
