// The one spelling of coroutines in llorch: Task<T>, a lazy coroutine of Boost.Asio.
// Light on purpose: include <boost/asio/io_context.hpp> and the like where they are used.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace boost::asio {
class io_context;
}

namespace llorch {

namespace asio = boost::asio;

template <class T>
using Task = asio::awaitable<T>;

}  // namespace llorch
