// The one spelling of coroutines in llorch: Task<T>, a lazy coroutine of Boost.Asio, and where all
// of them run. They name the io_context's own executor: one of any kind costs an indirect call at
// each of its copies, of which an operation makes several.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/io_context.hpp>

namespace llorch {

namespace asio = boost::asio;

using Executor = asio::io_context::executor_type;

template <class T>
using Task = asio::awaitable<T, Executor>;

namespace net {

// For co_await of one operation, which takes no coroutine of its own that way.
inline constexpr auto as_result = asio::as_tuple(asio::deferred);

}  // namespace net

}  // namespace llorch
