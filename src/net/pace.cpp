#include "net/pace.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/deferred.hpp>
#include <utility>

namespace llorch::net {

Task<void> Pace::next() {
  // Setting it anew would end the waits of others; once it has expired there are none.
  if (timer_.expiry() <= std::chrono::steady_clock::now()) {
    const std::chrono::milliseconds more(std::exchange(waiters_, 0) / waiters_a_ms);
    timer_.expires_after(std::min(least_ + more, most_));
  }
  ++waiters_;
  const auto [ended] = co_await timer_.async_wait(asio::as_tuple(asio::deferred));
  static_cast<void>(ended);
}

}  // namespace llorch::net
