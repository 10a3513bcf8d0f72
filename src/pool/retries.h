// When a request to a source is made again: one rule for the hub's answers and for files.
// Threads: one. Lifetime: one source's turn.
#pragma once

#include <string>

#include "pool/context.h"

namespace llorch {

struct RetryPolicy {
  int attempts_max = 1;       // in a row without progress
  bool other_source = false;  // one that is waiting: then nobody there is said at once
};

class Retries {
 public:
  Retries(const PoolContext& context, RetryPolicy policy) : context_(context), policy_(policy) {}

  // A byte of the wanted came: attempts count anew.
  void moved();
  // After a request that got no reply: says why, waits and gives true; false = give up.
  bool after_failure(const Error& why);
  // The same after a reply with a status, or one that was cut off.
  bool after_reply(const WebReply& reply, const std::string& why);

 private:
  bool wait(const WebReply& reply, const std::string& why, int attempts_max);

  const PoolContext& context_;
  RetryPolicy policy_;
  int attempt_ = 1;
  bool moved_ever_ = false;
};

}  // namespace llorch
