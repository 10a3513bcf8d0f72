// One job's event stream, read for a person: events in, text, figures and the verdict out.
// Pure: time comes in. Threads: one owner. Lifetime: one session a job, across reconnects.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "protocol/job_stream.h"

namespace llorch {

// What is known of the job so far. Times count from when it was sent, as its user sees them.
struct InferFigures {
  std::string job_id;
  std::string model;
  std::string text;  // all that was received
  std::optional<std::uint64_t> seed;
  std::int64_t prompt_tokens = 0;
  std::int64_t cached_tokens = 0;
  std::int64_t tokens_out = 0;
  std::optional<StopReason> stop_reason;  // absent: the end has not been seen
  std::string stop_sequence_matched;
  std::optional<double> ttft_ms;
  double total_ms = 0;
  double prefill_ms = 0;  // of the worker's own clock, as decode_time_ms
  double decode_time_ms = 0;
  std::optional<Error> error;  // an error event, or why the stream broke
};

class InferSession {
 public:
  InferSession(std::string job_id, SteadyTime sent);

  // The text that `event` adds. A token already taken (a resume may repeat it) adds nothing.
  // Errors: internal (a token is missing: the stream cannot be trusted any more).
  Result<std::string> take(const JobStreamEvent& event, SteadyTime now);
  // The stream broke or was refused for good.
  void broke(Error error, SteadyTime now);

  bool ended() const;  // `end` or `error` has been taken; nothing follows
  bool writing() const { return figures_.tokens_out > 0; }
  const InferFigures& figures() const { return figures_; }
  // "queued", "reading the prompt 512/4096": what there is to wait for before the first token.
  std::string waiting_for() const;
  // Errors: cancelled (by someone else), those of the stream; unreachable when it has not ended.
  Result<void> verdict() const;

 private:
  InferFigures figures_;
  SteadyTime sent_;
  MetricsEvent progress_{.phase = MetricsEvent::Phase::queued};
};

// "20 tokens, first after 85 ms, 98.5 tokens/s, stop MAX_TOKENS"; only what is known.
std::string statistics_line(const InferFigures& figures);
// Tokens a second while decoding, by the worker's clock where it told; 0 = not known.
double tokens_per_second(const InferFigures& figures);
// {"version":"1.0","job_id":…,"model":…,"text":…,"tokens_out":…,"stop_reason":…,…}
std::string infer_json(const InferFigures& figures);
// Without control characters but line breaks and tabs: a model must not steer the terminal.
// Shape: `utf8` is whole characters.
std::string terminal_safe(std::string_view utf8);

}  // namespace llorch
