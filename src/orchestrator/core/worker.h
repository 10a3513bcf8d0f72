// A worker as the decision machine knows it, and the rules of its health. Pure values.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "orchestrator/core/job.h"
#include "protocol/worker_api.h"

namespace llorch {

enum class WorkerStatus { healthy, unhealthy, dead };  // spelled as on the wire
std::string_view wire_name(WorkerStatus status);

struct WorkerState {
  Registration registration;
  // Someone else's server: no resume, no heartbeat, no prefix of its own to count on. Its models
  // are entries of one `registration.pool_host`, which share its slots.
  bool external = false;
  bool fallback = false;  // external: only when no own worker can serve
  WorkerStatus status = WorkerStatus::healthy;
  bool draining = false;
  Millis heard_at_ms = 0;  // last beat, registration or good probe
  Millis unhealthy_since_ms = 0;
  Millis probe_at_ms = 0;        // next
  Heartbeat beat;                // the newest
  std::int32_t outstanding = 0;  // jobs we have sent and not seen the end of
  // Sums over those jobs, kept so that a cost is one look.
  double prefill_tokens_left = 0;
  double decode_tokens_left = 0;
  Millis prefill_as_of_ms = 0;     // when prefill_tokens_left was last true
  double stream_ms_per_token = 0;  // of one stream, as its jobs have lately run; 0: none has yet
  Millis refuses_until_ms = 0;     // it said 429: no new work until then

  const std::string& id() const { return registration.worker_id; }
  // One more than its slots waits at a worker of ours; what others queue we cannot see.
  std::int32_t room() const { return registration.slots_total + (external ? 0 : 1) - outstanding; }
  std::int32_t slots_free() const {
    return outstanding >= registration.slots_total ? 0 : registration.slots_total - outstanding;
  }
  // It computes one prompt after another, and has gone on since its last news.
  double prefill_ms_left(Millis now, double ms_per_token) const {
    const auto since = static_cast<double>(now - prefill_as_of_ms);
    return std::max(prefill_tokens_left * ms_per_token - since, 0.0);
  }
  bool takes_work(Millis now) const {
    return status == WorkerStatus::healthy && !draining && room() > 0 && refuses_until_ms <= now;
  }
};

}  // namespace llorch
