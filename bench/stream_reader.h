// Follows one streamed answer: when its tokens came, and how many the server says there were.
// Reads no JSON: a frame is searched for the few marks that matter, so that the client stays
// cheap beside the server it measures. Threads: one. Lifetime: one stream.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "figures.h"
#include "protocol/sse.h"

namespace llorch::bench {

class StreamReader {
 public:
  explicit StreamReader(SteadyTime sent) : sent_(sent) {}

  // Bytes that came at `now`. Errors: too_large, backend_error (the stream holds an error).
  Result<void> feed(std::string_view bytes, SteadyTime now);

  bool done() const { return done_; }  // "data: [DONE]" came, or the end of a task
  std::uint64_t frames() const { return frames_; }
  // Of the usage frame; without one, the frames that carried text.
  std::uint64_t tokens_out() const { return usage_out_.value_or(frames_); }
  std::uint64_t prompt_tokens() const { return usage_prompt_; }
  std::optional<double> ttft_ms() const;
  // From the first token to the last; 0 with fewer than two.
  double tokens_per_s() const;
  // Gaps since the last call, in ms.
  Samples take_gaps();

 private:
  SteadyTime sent_;
  std::optional<SteadyTime> first_;
  SteadyTime last_{};
  SseParser parser_;
  std::vector<SseEvent> events_;
  Samples gaps_;
  std::uint64_t frames_ = 0;
  std::uint64_t usage_prompt_ = 0;
  std::optional<std::uint64_t> usage_out_;
  bool done_ = false;
};

// Whether a frame of either route carries text. Exposed for its test.
bool carries_text(std::string_view frame);

}  // namespace llorch::bench
