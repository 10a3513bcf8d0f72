#include "store/frames.h"

#include "base/little_endian.h"

namespace llorch {
namespace {

constexpr std::size_t head_bytes = 12;

}  // namespace

void append_frame(std::string& blob, std::uint64_t seq, std::string_view bytes) {
  append_little_endian(blob, seq);
  append_little_endian(blob, static_cast<std::uint32_t>(bytes.size()));
  blob += bytes;
}

std::string encode_frames(std::span<const LoggedFrame> frames) {
  std::string blob;
  for (const auto& frame : frames) append_frame(blob, frame.seq, frame.bytes);
  return blob;
}

Result<std::vector<LoggedFrame>> decode_frames(std::string_view blob) {
  std::vector<LoggedFrame> frames;
  while (!blob.empty()) {
    if (blob.size() < head_bytes) return fail(Code::internal, "stored frames are cut short");
    const auto seq = read_little_endian<std::uint64_t>(blob, 0);
    const std::size_t size = read_little_endian<std::uint32_t>(blob, 8);
    blob.remove_prefix(head_bytes);
    if (blob.size() < size) return fail(Code::internal, "stored frames are cut short");
    if (!frames.empty() && seq <= frames.back().seq) {
      return fail(Code::internal, "stored frames are out of order");
    }
    frames.push_back({seq, std::string(blob.substr(0, size))});
    blob.remove_prefix(size);
  }
  return frames;
}

}  // namespace llorch
