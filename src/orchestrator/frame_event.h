// What a frame of a worker's own events says. Only started, metrics, end and error are ever read:
// tokens pass unread. Pure. Threads: any.
#pragma once

#include <optional>
#include <string_view>

#include "orchestrator/frame_splitter.h"
#include "protocol/job_stream.h"

namespace llorch {

// nullopt: an event of a kind or shape that this version does not know.
std::optional<JobStreamEvent> event_of(const RelayFrame& frame);
// The same for the bytes of one frame.
std::optional<JobStreamEvent> event_in(std::string_view frame);

}  // namespace llorch
