// Structured log: one JSON object a line on stderr. Prompts, outputs and keys never go in here;
// log their length and hash. Threads: any; lines are written by a background thread.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <variant>

namespace llorch {

enum class LogLevel { debug, info, warn, error };

struct LogField {
  std::string_view key;
  std::variant<std::string_view, std::int64_t, double, bool> value;
};

// Starts the background writer. Before it, and after log_close(), lines go out synchronously.
void log_open(LogLevel lowest);
// Writes out what is queued. Call once, at the end of main.
void log_close();
// The same for at most limits::log_close_ms: nobody may be reading stderr. False: something was
// left, and only std::_Exit() is safe after it.
bool log_close_in_time();

// {"timestamp":…,"level":"info","component":"worker","event":"job_ended","job_id":"j1",…}
void log_event(LogLevel level, std::string_view component, std::string_view event,
               std::initializer_list<LogField> fields = {});

}  // namespace llorch
