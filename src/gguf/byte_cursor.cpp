#include "gguf/byte_cursor.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace llorch {
namespace {
constexpr std::size_t chunk_bytes = 256 * limits::kib;  // a header is read in a few dozen calls
}

bool ByteCursor::refuse(std::string why, std::string next) {
  if (!error_) error_ = fail(Code::model_load_failed, std::move(why), std::move(next)).error();
  return false;
}

bool ByteCursor::fill() {
  chunk_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(chunk_bytes, remaining())));
  chunk_start_ = position_;
  std::size_t have = 0;
  while (have < chunk_.size()) {
    const auto got = source_.read_at(position_ + have, std::span(chunk_).subspan(have));
    if (!got) {
      error_ = got.error();
      return false;
    }
    if (*got == 0) break;
    have += *got;
  }
  chunk_.resize(have);
  return have > 0;
}

bool ByteCursor::take(void* to, std::size_t bytes) {
  if (error_) return false;
  if (position_ + bytes > limits::gguf_header_bytes_max) {
    return refuse(fmt::format("the header is larger than {} MiB",
                              limits::gguf_header_bytes_max / limits::mib),
                  "download the model again from another source");
  }
  auto* out = static_cast<std::byte*>(to);
  while (bytes > 0) {
    const std::uint64_t used = position_ - chunk_start_;
    if (used >= chunk_.size()) {
      if (remaining() > 0 && fill()) continue;
      return refuse(fmt::format("the file is truncated: its header goes on after byte {}", size_),
                    "download it again");
    }
    const std::size_t count = std::min(bytes, chunk_.size() - static_cast<std::size_t>(used));
    std::memcpy(out, chunk_.data() + used, count);
    out += count;
    bytes -= count;
    position_ += count;
  }
  return true;
}

bool ByteCursor::read(std::string& text, std::uint64_t bytes_max) {
  std::uint64_t bytes = 0;
  if (!read(bytes)) return false;
  if (bytes > bytes_max) {
    return refuse(fmt::format("a text at byte {} claims {} bytes, at most {} are allowed",
                              position_ - sizeof bytes, bytes, bytes_max),
                  "download the model again from another source");
  }
  // Before the allocation, so that a false length cannot cost memory.
  if (bytes > remaining()) {
    return refuse(fmt::format("the file is truncated: a text at byte {} of {} needs {} bytes more",
                              position_, size_, bytes),
                  "download it again");
  }
  text.resize(static_cast<std::size_t>(bytes));
  return bytes == 0 || take(text.data(), text.size());
}

bool ByteCursor::skip(std::uint64_t bytes) {
  if (error_) return false;
  if (bytes > remaining()) {
    return refuse(fmt::format("the file is truncated: {} bytes are missing after byte {}",
                              bytes - remaining(), size_),
                  "download it again");
  }
  if (bytes > limits::gguf_header_bytes_max - position_) {
    return refuse(fmt::format("the header is larger than {} MiB",
                              limits::gguf_header_bytes_max / limits::mib),
                  "download the model again from another source");
  }
  position_ += bytes;
  return true;
}

}  // namespace llorch
