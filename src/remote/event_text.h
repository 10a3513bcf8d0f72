// The events of one job as `llorch jobs events` prints them: its text, or one line of JSON each.
// Threads: one owner. Lifetime: one a job, across connections.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "protocol/sse.h"

namespace llorch {

class EventText {
 public:
  explicit EventText(bool json) : json_(json) {}

  // What `event` adds to the output. Errors: internal (an event that is not JSON, or not of its
  // type).
  Result<std::string> take(const SseEvent& event);
  // "20 tokens, stop MAX_TOKENS"; empty until the end has come.
  const std::string& summary() const { return summary_; }
  // What the job ended with. Errors: its own; cancelled.
  Result<void> verdict(const std::string& job_id) const;

 private:
  bool json_;
  bool cancelled_ = false;
  std::string summary_;
  std::optional<Error> error_;
};

}  // namespace llorch
