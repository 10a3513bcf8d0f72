// Awaits one answer that another thread gives through a callback: the engine's replies, reads of a
// store, work done on a thread of its own. Threads: the awaiting one is the io thread.
#pragma once

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <utility>

#include "base/result.h"
#include "net/asio.h"
#include "net/event.h"

namespace llorch {

// `start` is given the callback to answer with, exactly once, from any thread.
template <class T>
Task<Result<T>> await_reply(Executor executor,
                            std::function<void(std::function<void(Result<T>)>)> start) {
  const auto answer = std::make_shared<std::unique_ptr<Result<T>>>();
  const auto arrived = std::make_shared<net::Event>(executor);
  start([executor, answer, arrived](Result<T> result) {
    asio::post(executor, [answer, arrived, result = std::move(result)]() mutable {
      *answer = std::make_unique<Result<T>>(std::move(result));
      arrived->ring();
    });
  });
  // No limit of our own: who answers does so while it lives, and it outlives the loop that awaits
  // it.
  while (!*answer) co_await arrived->wait();
  co_return std::move(**answer);
}

// Runs `work` on the pool's thread.
template <class T>
Task<Result<T>> run_on(Executor executor, asio::thread_pool& pool,
                       std::function<Result<T>()> work) {
  using Reply = std::function<void(Result<T>)>;
  const std::function<void(Reply)> start = [&pool, work = std::move(work)](Reply reply) {
    asio::post(pool, [work, reply = std::move(reply)] { reply(work()); });
  };
  co_return co_await await_reply<T>(executor, start);
}

}  // namespace llorch
