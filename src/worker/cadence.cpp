#include "worker/cadence.h"

#include <algorithm>

#include "base/limits.h"

namespace llorch {
namespace {

using std::chrono::milliseconds;

}  // namespace

Cadence::Cadence(SteadyTime now, bool with_metrics)
    : with_metrics_(with_metrics), begun_(now), last_write_(now), last_metrics_(now) {}

bool Cadence::headers_due(SteadyTime now) const {
  return !headers_out_ && now >= begun_ + milliseconds(limits::first_event_wait_ms);
}

bool Cadence::metrics_due(SteadyTime now) const {
  return headers_out_ && with_metrics_ && now >= metrics_time();
}

bool Cadence::comment_due(SteadyTime now) const {
  return headers_out_ && now >= last_write_ + milliseconds(limits::sse_comment_ms);
}

void Cadence::headers_written(SteadyTime now) {
  headers_out_ = true;
  last_write_ = now;
}

void Cadence::metrics_written(SteadyTime now) {
  last_metrics_ = now;
  news_ = false;
}

SteadyTime Cadence::metrics_time() const {
  return last_metrics_ +
         milliseconds(news_ ? limits::metrics_event_ms : limits::metrics_silence_ms);
}

SteadyTime Cadence::next() const {
  if (!headers_out_) return begun_ + milliseconds(limits::first_event_wait_ms);
  const auto comment = last_write_ + milliseconds(limits::sse_comment_ms);
  return with_metrics_ ? std::min(comment, metrics_time()) : comment;
}

}  // namespace llorch
