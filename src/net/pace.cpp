#include "net/pace.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/deferred.hpp>

namespace llorch::net {

Pace::Pace(const Executor& executor, std::chrono::steady_clock::duration step) : step_(step) {
  for (int moment = 0; moment <= steps_max; ++moment) moments_.emplace_back(executor, Time::min());
}

Task<void> Pace::wait(int steps) {
  const auto number = std::chrono::steady_clock::now().time_since_epoch() / step_ + steps;
  auto& moment = moments_[static_cast<std::size_t>(number) % moments_.size()];
  const Time at(number * step_);
  // Setting it anew would end the waits of others; what it was set to before has long passed.
  if (moment.expiry() != at) moment.expires_at(at);
  ++crowd_;
  const auto [ended] = co_await moment.async_wait(asio::as_tuple(asio::deferred));
  static_cast<void>(ended);
  --crowd_;
}

}  // namespace llorch::net
