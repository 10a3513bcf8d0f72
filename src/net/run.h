// Runs one coroutine to its end on a private io_context, for command lines.
// Threads: blocks the caller, and is its io thread meanwhile.
#pragma once

#include <functional>
#include <utility>

#include "base/result.h"
#include "net/asio.h"

namespace llorch::net {

// Called at the first SIGINT or SIGTERM, on the io thread; the coroutine goes on, and ends when it
// has tidied up. A second signal ends the process with 130 or 143.
using OnSignal = std::function<void(int signal_number)>;

// Returns when `body` has ended; everything else on its io_context is dropped then. An exception
// of `body` comes out of here. Without `on_signal` the signals keep their default meaning.
void run_to_end(std::function<Task<void>(asio::io_context&)> body, OnSignal on_signal = {});

// A function of its own: a coroutine must not live in the captures of a lambda.
template <class T>
Task<void> keep_result(const std::function<Task<Result<T>>(asio::io_context&)>& body,
                       asio::io_context& io, Result<T>& into) {
  Result<T> outcome = co_await body(io);
  into = std::move(outcome);
}

// The same for a coroutine with a result: run_blocking<Answer>([&](auto& io) { return ask(io); }).
template <class T>
Result<T> run_blocking(const std::function<Task<Result<T>>(asio::io_context&)>& body,
                       OnSignal on_signal = {}) {
  Result<T> result = fail(Code::internal, "ended without a result");
  const auto keep = [&](asio::io_context& io) { return keep_result<T>(body, io, result); };
  run_to_end(keep, std::move(on_signal));
  return result;
}

}  // namespace llorch::net
