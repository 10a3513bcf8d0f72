// Decodes request bodies, the large ones on a thread of its own: a prompt of a megabyte holds up no
// stream. Threads: decode() on the io thread. Lifetime: not past the io_context.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/limits.h"
#include "base/result.h"
#include "net/await_reply.h"

namespace llorch {

class BodyDecoder {
 public:
  template <class T>
  using How = std::function<Result<T>(std::string_view)>;

  explicit BodyDecoder(Executor executor) : executor_(std::move(executor)) {}
  ~BodyDecoder() { pool_.join(); }
  BodyDecoder(const BodyDecoder&) = delete;
  BodyDecoder& operator=(const BodyDecoder&) = delete;

  // Errors: those of `how`; queue_full when too many large bodies wait for the thread.
  template <class T>
  Task<Result<T>> decode(std::shared_ptr<const std::string> body, How<T> how) {
    if (body->size() <= limits::decode_inline_bytes_max) co_return how(*body);
    // Shared: a coroutine that waits may end with the io_context, after this.
    const std::shared_ptr<std::size_t> waiting = waiting_;
    if (*waiting >= limits::decode_waiting_max) {
      co_return fail(Error{.code = Code::queue_full,
                           .message = "too many large requests at once",
                           .retry_after_ms = limits::full_retry_ms});
    }
    const std::shared_ptr<void> place(nullptr, [waiting](void*) { --*waiting; });
    ++*waiting;
    const std::function<Result<T>()> work = [body, how = std::move(how)] { return how(*body); };
    co_return co_await run_on<T>(executor_, pool_, work);
  }

 private:
  Executor executor_;
  std::shared_ptr<std::size_t> waiting_ = std::make_shared<std::size_t>(0);
  asio::thread_pool pool_{1};
};

}  // namespace llorch
