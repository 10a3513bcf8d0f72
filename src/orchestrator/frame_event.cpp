#include "orchestrator/frame_event.h"

#include <string>

namespace llorch {

std::optional<JobStreamEvent> event_of(const RelayFrame& frame) {
  const SseEvent event{.type = std::string(frame.type),
                       .data = std::string(frame.data),
                       .id = std::string(frame.id)};
  return decode_job_event(event).value_or(std::nullopt);
}

std::optional<JobStreamEvent> event_in(std::string_view frame) {
  FrameSplitter splitter;
  RelayFrame split;
  if (!splitter.feed(frame) || !splitter.next(split)) return std::nullopt;
  return event_of(split);
}

}  // namespace llorch
