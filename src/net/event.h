// A doorbell between coroutines of one thread: wait() until somebody rings.
// Threads: the executor's one thread. Lifetime: outlives its waiters.
#pragma once

#include <chrono>
#include <memory>

#include "base/clock.h"
#include "net/asio.h"

namespace llorch::net {

class Event {
 public:
  explicit Event(Executor executor);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  // Wakes every waiter; with none, the next wait returns at once. Rings do not add up.
  void ring();
  Task<void> wait();
  // False when nobody rang for that long.
  Task<bool> wait_for(std::chrono::milliseconds limit);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Waits; cancelled as any wait of its coroutine.
Task<void> sleep_for(std::chrono::milliseconds duration);

}  // namespace llorch::net
