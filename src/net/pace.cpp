#include "net/pace.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/deferred.hpp>
#include <utility>

namespace llorch::net {

Task<void> Pace::next() {
  // Setting it anew would end the waits of others; once it has expired there are none.
  if (timer_.expiry() <= std::chrono::steady_clock::now()) {
    timer_.expires_after(pause(std::exchange(waiters_, 0), least_, most_));
  }
  ++waiters_;
  const auto [ended] = co_await timer_.async_wait(asio::as_tuple(asio::deferred));
  static_cast<void>(ended);
}

}  // namespace llorch::net
