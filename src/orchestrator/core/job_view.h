// What the decision machine shows of a live job. Pure values.
#pragma once

#include <cstdint>
#include <string>

#include "orchestrator/core/job.h"

namespace llorch {

struct JobView {
  JobStatus status = JobStatus::queued;
  std::string worker_id;
  std::uint32_t attempt = 0;
  std::int64_t tokens_out = 0;
  std::int64_t queue_position = 0;  // 1 = next; 0 when not waiting
  Millis predicted_start_ms = 0;    // from now
};

}  // namespace llorch
