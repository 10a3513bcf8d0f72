#include "net/event.h"

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <utility>
#include <vector>

namespace llorch::net {
struct Event::State {
  struct Waiter {
    explicit Waiter(std::shared_ptr<State> state)
        : event(std::move(state)), timer(event->executor) {
      event->waiters.push_back(this);
    }
    ~Waiter() { std::erase(event->waiters, this); }
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;

    std::shared_ptr<State> event;  // a waiter may be destroyed with its io_context, after the Event
    asio::steady_timer timer;
    bool woken = false;
  };

  explicit State(const Executor& on) : executor(on) {}

  Executor executor;
  std::vector<Waiter*> waiters;
  bool rung = false;

  static Task<void> wait(std::shared_ptr<State> state) {
    if (std::exchange(state->rung, false)) co_return;
    Waiter waiter(std::move(state));
    waiter.timer.expires_at(SteadyTime::max());
    const auto [ended] = co_await waiter.timer.async_wait(as_result);
    static_cast<void>(ended);
  }

  static Task<bool> wait_until(std::shared_ptr<State> state, SteadyTime end) {
    if (std::exchange(state->rung, false)) co_return true;
    Waiter waiter(std::move(state));
    waiter.timer.expires_at(end);
    // Ends by its time, by ring(), or by a cancel, which the caller's next co_await throws.
    const auto [ended] = co_await waiter.timer.async_wait(as_result);
    static_cast<void>(ended);
    co_return waiter.woken;
  }
};

Event::Event(Executor executor) : state_(std::make_shared<State>(executor)) {}

Event::~Event() = default;

void Event::ring() {
  state_->rung = state_->waiters.empty();
  for (State::Waiter* waiter : std::exchange(state_->waiters, {})) {
    waiter->woken = true;
    waiter->timer.cancel();
  }
}

Task<void> Event::wait() {
  return State::wait(state_);
}

Task<bool> Event::wait_for(std::chrono::milliseconds limit) {
  return State::wait_until(state_, std::chrono::steady_clock::now() + limit);
}

Task<void> sleep_for(std::chrono::milliseconds duration) {
  asio::steady_timer timer(co_await asio::this_coro::executor, duration);
  const auto [ended] = co_await timer.async_wait(as_result);
  static_cast<void>(ended);
}

}  // namespace llorch::net
