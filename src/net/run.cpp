#include "net/run.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdlib>
#include <exception>

namespace llorch::net {
namespace {

constexpr int exit_by_signal = 128;  // what a shell adds to the number

void wait_for_signal(asio::signal_set& signals, const OnSignal& on_signal) {
  signals.async_wait([&](boost::system::error_code aborted, int number) {
    if (aborted) return;
    signals.async_wait([](boost::system::error_code stopped, int again) {
      if (!stopped) std::_Exit(exit_by_signal + again);
    });
    on_signal(number);
  });
}

}  // namespace

void run_to_end(std::function<Task<void>(asio::io_context&)> body, OnSignal on_signal) {
  std::exception_ptr failure;
  {
    asio::io_context io{1};
    asio::signal_set signals(io);
    if (on_signal) {
      signals.add(SIGINT);
      signals.add(SIGTERM);
      wait_for_signal(signals, on_signal);
    }
    auto ended = [&](std::exception_ptr thrown) {
      failure = std::move(thrown);
      io.stop();
    };
    asio::co_spawn(io, body(io), ended);
    io.run();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace llorch::net
