// Where a reader gets a file's bytes from, so that parsing touches no file system.
// Threads: one reader at a time. Lifetime: outlives the call that reads it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/result.h"

namespace llorch {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Size of the whole file in bytes.
  virtual std::uint64_t size() const = 0;
  // Copies up to `to.size()` bytes from `offset`; fewer only at the file's end.
  // Errors: whatever the device says.
  virtual Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> to) = 0;
};

// A file's beginning held in memory; `file_bytes` may be larger than what is held.
class SpanSource final : public ByteSource {
 public:
  SpanSource(std::span<const std::byte> bytes, std::uint64_t file_bytes)
      : bytes_(bytes), file_bytes_(file_bytes) {}
  explicit SpanSource(std::span<const std::byte> bytes) : SpanSource(bytes, bytes.size()) {}

  std::uint64_t size() const override { return file_bytes_; }
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> to) override {
    if (offset >= bytes_.size()) return std::size_t{0};
    const auto from = bytes_.subspan(static_cast<std::size_t>(offset));
    const std::size_t count = std::min(from.size(), to.size());
    if (count > 0) std::memcpy(to.data(), from.data(), count);
    return count;
  }

 private:
  std::span<const std::byte> bytes_;
  std::uint64_t file_bytes_;
};

}  // namespace llorch
