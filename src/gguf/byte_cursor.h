// Reads little-endian values from a ByteSource in order, a chunk at a time, and stops for good at
// the first failure. Threads: one. Lifetime: within one read_gguf_header().
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "base/limits.h"
#include "gguf/byte_source.h"

namespace llorch {

static_assert(std::endian::native == std::endian::little, "GGUF values are copied as they are");

class ByteCursor {
 public:
  explicit ByteCursor(ByteSource& source) : source_(source), size_(source.size()) {}

  std::uint64_t position() const { return position_; }
  std::uint64_t remaining() const { return size_ - position_; }
  // Why the last read failed; empty when it did not.
  const std::optional<Error>& error() const { return error_; }

  template <class T>
  bool read(T& value) {
    static_assert(std::is_arithmetic_v<T>);
    return take(&value, sizeof value);
  }
  // A length of 8 bytes, then as many bytes, at most `bytes_max`.
  bool read(std::string& text, std::uint64_t bytes_max);
  bool skip(std::uint64_t bytes);
  // Always false: remembers the first error.
  bool refuse(std::string why, std::string next = {});

 private:
  bool take(void* to, std::size_t bytes);
  bool fill();

  ByteSource& source_;
  std::uint64_t size_;
  std::uint64_t position_ = 0;
  std::uint64_t chunk_start_ = 0;
  std::vector<std::byte> chunk_;
  std::optional<Error> error_;
};

}  // namespace llorch
