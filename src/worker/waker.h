// Rings an Event of the io thread from any other thread: how the engine wakes a coroutine.
// Threads: the function any. Lifetime: it may outlive the Event, not the io_context.
#pragma once

#include <boost/asio/post.hpp>
#include <functional>
#include <memory>

#include "net/asio.h"
#include "net/event.h"

namespace llorch {

inline std::function<void()> waker(const Executor& executor,
                                   const std::shared_ptr<net::Event>& event) {
  return [executor, weak = std::weak_ptr(event)] {
    asio::post(executor, [weak] {
      if (const auto waiting = weak.lock()) waiting->ring();
    });
  };
}

}  // namespace llorch
