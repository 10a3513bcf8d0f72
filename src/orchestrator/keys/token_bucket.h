// How many tokens a key may still use: a bucket that holds one minute's worth and fills evenly.
// What was used is taken afterwards, so it may go into debt; while it does, nothing begins.
// Pure: the time comes in. Threads: one owner.
#pragma once

#include <cstdint>

#include "orchestrator/core/job.h"

namespace llorch {

class TokenBucket {
 public:
  // Shape: tokens_per_minute >= 1. Full at the start.
  TokenBucket(std::int64_t tokens_per_minute, Millis now_ms)
      : tokens_per_minute_(static_cast<double>(tokens_per_minute)),
        level_(tokens_per_minute_),
        at_ms_(now_ms) {}

  // Takes what was used; a negative number gives back.
  void take(std::int64_t tokens, Millis now_ms);
  // 0: something may begin; else how long until one token is there.
  Millis wait_ms(Millis now_ms) const;

 private:
  double level_at(Millis now_ms) const;

  double tokens_per_minute_;
  double level_;  // at at_ms_
  Millis at_ms_;
};

}  // namespace llorch
