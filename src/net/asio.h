// The one spelling of coroutines in llorch: Task<T>, a lazy coroutine of Boost.Asio, and where all
// of them run. They name the io_context's own executor: one of any kind costs an indirect call at
// each of its copies, of which an operation makes several.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

namespace llorch {

namespace asio = boost::asio;

using Executor = asio::io_context::executor_type;

template <class T>
using Task = asio::awaitable<T, Executor>;

}  // namespace llorch
