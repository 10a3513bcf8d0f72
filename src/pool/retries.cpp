#include "pool/retries.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"

namespace llorch {

void Retries::moved() {
  attempt_ = 1;
  moved_ever_ = true;
}

bool Retries::after_failure(const Error& why) {
  if (why.code != Code::unreachable && why.code != Code::timeout) return false;
  if (moved_ever_) return wait({}, why.message, policy_.attempts_max);
  if (policy_.other_source && context_.http.nobody_there()) return false;
  return wait({}, why.message, std::min(policy_.attempts_max, limits::early_attempts_max));
}

bool Retries::after_reply(const WebReply& reply, const std::string& why) {
  return wait(reply, why, policy_.attempts_max);
}

bool Retries::wait(const WebReply& reply, const std::string& why, int attempts_max) {
  const auto delay_ms = retry_delay_ms(attempt_, reply);
  if (attempt_ >= attempts_max || !delay_ms) return false;
  ++attempt_;
  context_.say(
      fmt::format("{}; trying again in {:.1f} s", why, static_cast<double>(*delay_ms) / 1000));
  context_.wait(*delay_ms);
  return true;
}

}  // namespace llorch
