// Server-sent events: an incremental parser and the fields of a frame.
// Source: WHATWG HTML, "Server-sent events": 9.2.5 parsing, 9.2.6 interpreting.
// Threads: one owner. Lifetime: one parser a stream.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "base/result.h"

namespace llorch {

struct SseEvent {
  std::string type = "message";
  std::string data;
  std::string id;  // of this event or of the last one that had one
  bool operator==(const SseEvent&) const = default;
};

// An event that the end of the stream cuts off is dropped, as the standard asks.
class SseParser {
 public:
  explicit SseParser(std::size_t event_bytes_max = limits::sse_event_bytes_max)
      : event_bytes_max_(event_bytes_max) {}

  // Takes the next bytes, split anywhere, and appends the events they finish.
  // Errors: too_large (one event of more than `event_bytes_max`); the parser is then spent.
  Result<void> feed(std::string_view bytes, std::vector<SseEvent>& events);

 private:
  void end_line(std::vector<SseEvent>& events);
  void take_field(std::string_view name, std::string_view value);

  std::size_t event_bytes_max_;
  std::string line_;
  std::string data_;
  std::string type_;
  std::string last_event_id_;
  bool at_start_ = true;
  bool after_cr_ = false;  // a LF next belongs to the line already ended
  bool has_data_ = false;
  bool failed_ = false;
};

// Appends "id: …\n", "event: …\n", and "data: …\n\n". Empty `id` and `type` are left out; `data`
// is one line (JSON text has no line break).
void append_sse_frame(std::string& out, std::string_view id, std::string_view type,
                      std::string_view data);

inline constexpr std::string_view sse_comment = ":\n\n";  // keeps a silent stream alive

}  // namespace llorch
