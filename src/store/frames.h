// The frames of one job, and how they stand in the database once the job has ended. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace llorch {

// One frame as it was sent: its sequence number, and bytes that mean nothing to the store.
struct LoggedFrame {
  std::uint64_t seq = 0;
  std::string bytes;
  bool operator==(const LoggedFrame&) const = default;
};

// Each frame: u64 seq, u32 length, bytes; little endian.
void append_frame(std::string& blob, std::uint64_t seq, std::string_view bytes);
std::string encode_frames(std::span<const LoggedFrame> frames);
// Errors: internal (the blob is damaged, or its numbers do not grow).
Result<std::vector<LoggedFrame>> decode_frames(std::string_view blob);

}  // namespace llorch
