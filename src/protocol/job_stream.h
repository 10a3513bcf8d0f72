// The event stream of /execute, both ways. One event of it:
// id: 3:1234\nevent: token\ndata: {"type":"token","t":"Hel","i":1,"id":1234}\n\n
// One rule beside the contract: a token event whose text is held back waits for the next token or
// the end, so that the `t` of all token events together is always the whole text; the last one
// carries what the end released. After a resume no token event may be left for that: then `end`
// itself has a `t`.
// Threads: one owner. Lifetime: one writer a stream.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "protocol/job_event.h"
#include "protocol/sse.h"

namespace llorch {

// {"type":"started","job_id":"j1","model":"m","seed":42,"started_at":…,"prompt_tokens":5,…}
struct StartedEvent {
  std::string job_id;
  std::string model;
  std::uint64_t seed = 0;
  std::string started_at;  // RFC 3339
  std::int64_t prompt_tokens = 0;
  std::int64_t cached_tokens = 0;
};
struct TokenEvent {
  std::string t;
  std::int64_t i = 0;
  Token id = 0;
};
// {"type":"metrics","phase":"prefill","prompt_done":128,"prompt_total":512,"engine_step":9}
struct MetricsEvent {
  enum class Phase { queued, prefill, decode };
  Phase phase = Phase::prefill;
  std::int64_t prompt_done = 0;
  std::int64_t prompt_total = 0;
  std::uint64_t engine_step = 0;
  std::int64_t tokens_out = 0;
};
// {"type":"end","tokens_out":16,"stop_reason":"EOS","prefill_ms":8.1,"decode_time_ms":90.2}
struct EndEvent {
  std::int64_t tokens_out = 0;
  StopReason stop_reason = StopReason::EOS;
  std::string stop_sequence_matched;  // empty: none
  double prefill_ms = 0;
  double decode_time_ms = 0;
  std::string t;  // see above; empty nearly always
};
struct ErrorEvent {
  Error error;
  std::string correlation_id;
};
struct QueuedEvent {  // orchestratord's first event; its fields are informative
  std::string job_id;
};

// SEQ of a stream's first token: queued is 0, started 1. Token i has first_token_seq + i.
inline constexpr std::int64_t first_token_seq = 2;

std::string_view wire_name(StopReason reason);
std::optional<StopReason> stop_reason_from_wire(std::string_view name);

// Parts of a stream that a relay needs beside its frames.
void append_started_event(std::string& out, const StartedEvent& event);
void append_metrics_event(std::string& out, const MetricsEvent& event);
void append_error_event(std::string& out, std::int64_t seq, const Error& error,
                        std::string_view correlation_id);

class JobStreamWriter {
 public:
  // `resumed`: how many resume_tokens the job has; the first token event has that index.
  explicit JobStreamWriter(std::int64_t resumed = 0) : next_index_(resumed) {}

  void started(const StartedEvent& event, std::string& out) { append_started_event(out, event); }
  void metrics(const MetricsEvent& event, std::string& out) { append_metrics_event(out, event); }
  void token(const TokenOut& event, std::string& out);
  void ended(const Ended& event, std::string& out);
  void failed(const Error& error, std::string_view correlation_id, std::string& out);

 private:
  void flush_held(std::string& out);

  std::optional<TokenEvent> held_;
  std::int64_t next_index_;
};

using JobStreamEvent =
    std::variant<QueuedEvent, StartedEvent, TokenEvent, MetricsEvent, EndEvent, ErrorEvent>;
// Unknown event types give nullopt, so that a newer worker may say more, as long as it says it in
// JSON; unknown fields are ignored, and an "error" event always decodes.
// Errors: invalid_request (no JSON object, or not that of its type).
Result<std::optional<JobStreamEvent>> decode_job_event(const SseEvent& event);

// "3:1234,17" → seq 3, token ids 1234 and 17. Errors: invalid_request.
struct StreamPosition {
  std::int64_t seq = 0;
  std::vector<Token> token_ids;
};
Result<StreamPosition> parse_stream_position(std::string_view id);
// The same into a position that is used again, with its memory.
Result<void> read_stream_position(std::string_view id, StreamPosition& position);

}  // namespace llorch
