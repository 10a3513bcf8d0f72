#include "net/task_group.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <list>

#include "base/log.h"
#include "net/event.h"

namespace llorch::net {

struct TaskGroup::State {
  explicit State(Executor on) : executor(std::move(on)), changed(executor) {}

  Executor executor;
  Event changed;
  std::list<asio::cancellation_signal> running;
  bool cancelled = false;

  // On the io thread, so that Asio passes the signal on at once: what it would post instead holds
  // the signal's bare address.
  static void cancel(const std::shared_ptr<State>& state) {
    state->cancelled = true;
    asio::dispatch(state->executor, [state] {
      for (auto at = state->running.begin(); at != state->running.end();) {
        (at++)->emit(asio::cancellation_type::terminal);  // may end the task, and remove it
      }
    });
  }
};

namespace {

void log_failure(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const boost::system::system_error& error) {
    if (error.code() == asio::error::operation_aborted) return;
    log_event(LogLevel::error, "net", "task_failed", {{"reason", error.what()}});
  } catch (const std::exception& error) {
    log_event(LogLevel::error, "net", "task_failed", {{"reason", error.what()}});
  }
}

}  // namespace

TaskGroup::TaskGroup(Executor executor) : state_(std::make_shared<State>(std::move(executor))) {}

TaskGroup::~TaskGroup() {
  State::cancel(state_);
}

void TaskGroup::spawn(Task<void> task) {
  state_->running.emplace_back();
  const auto place = std::prev(state_->running.end());
  auto ended = [state = state_, place](const std::exception_ptr& failure) {
    state->running.erase(place);
    state->changed.ring();
    if (failure) log_failure(failure);
  };
  asio::co_spawn(state_->executor, std::move(task),
                 asio::bind_cancellation_slot(place->slot(), std::move(ended)));
  if (state_->cancelled) State::cancel(state_);
}

void TaskGroup::cancel() {
  State::cancel(state_);
}

Task<void> TaskGroup::join() {
  const auto state = state_;
  while (!state->running.empty()) co_await state->changed.wait();
}

std::size_t TaskGroup::size() const {
  return state_->running.size();
}

}  // namespace llorch::net
