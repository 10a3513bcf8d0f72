// Time as an input: monotonic milliseconds for deadlines, wall time for what people read.
// Threads: SystemClock any; a fake belongs to its test.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace llorch {

using SteadyTime = std::chrono::steady_clock::time_point;
using WallTime = std::chrono::system_clock::time_point;

inline SteadyTime steady_now() {
  return std::chrono::steady_clock::now();
}
inline WallTime wall_time(std::int64_t ms) {
  return WallTime(std::chrono::milliseconds(ms));
}
// Milliseconds since 1970.
inline std::int64_t unix_ms(WallTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

class Clock {
 public:
  virtual ~Clock() = default;
  virtual SteadyTime now() const = 0;
  virtual WallTime wall() const = 0;
};

class SystemClock final : public Clock {
 public:
  SteadyTime now() const override { return steady_now(); }
  WallTime wall() const override { return std::chrono::system_clock::now(); }
};

// "2025-01-31T12:34:56.789Z": RFC 3339, UTC, milliseconds.
std::string rfc3339(WallTime time);
// The same, a fraction of any length or none; nullopt when it is no time in UTC.
std::optional<WallTime> parse_rfc3339(std::string_view text);
double elapsed_ms(SteadyTime from, SteadyTime to);

}  // namespace llorch
