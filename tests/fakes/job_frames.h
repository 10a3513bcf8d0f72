// What an engine says of a job, and the frames it becomes. Threads: any.
#pragma once

#include <gtest/gtest.h>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/job_event.h"
#include "protocol/sse.h"

namespace llorch {

inline TokenOut token(std::int64_t index, Token id, std::string text, bool held = false) {
  TokenOut out;
  out.index = index;
  out.id = id;
  out.text = std::move(text);
  out.held = held;
  return out;
}

inline std::vector<SseEvent> frames(std::string_view text) {
  SseParser parser;
  std::vector<SseEvent> events;
  EXPECT_TRUE(parser.feed(text, events).has_value());
  return events;
}

}  // namespace llorch
