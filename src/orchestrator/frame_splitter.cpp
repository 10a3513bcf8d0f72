#include "orchestrator/frame_splitter.h"

#include "base/limits.h"

namespace llorch {

Result<void> FrameSplitter::feed(std::string_view bytes) {
  inbox() += bytes;
  return check();
}

std::string& FrameSplitter::inbox() {
  buffer_.erase(0, begin_);
  scanned_ -= begin_;
  begin_ = 0;
  return buffer_;
}

Result<void> FrameSplitter::check() const {
  if (buffer_.size() <= limits::frame_bytes_max) return {};
  return fail(Code::too_large, "a frame of the worker's stream is larger than " +
                                   std::to_string(limits::frame_bytes_max) + " bytes");
}

void FrameSplitter::release_if_empty() {
  if (begin_ < buffer_.size()) return;
  std::string().swap(buffer_);
  begin_ = scanned_ = 0;
}

// Lines are taken as they are found. Of a frame that was seen and had no end yet only the new bytes
// are looked at, until its end is there.
bool FrameSplitter::next(RelayFrame& frame) {
  while (true) {
    if (scanned_ > begin_ && buffer_.find("\n\n", scanned_ - 1) == buffer_.npos) break;
    const auto bytes = std::string_view(buffer_).substr(begin_);
    auto left = bytes;
    frame = {.id = {}, .type = {}, .data = {}, .rest = bytes};
    std::size_t size = left.find('\n');
    for (; size != left.npos && size > 0; size = left.find('\n')) {
      const auto line = left.substr(0, size);
      left.remove_prefix(size + 1);
      if (line.starts_with("id: ")) {
        frame.id = line.substr(4);
        frame.rest = left;
      } else if (line.starts_with("event: ")) {
        frame.type = line.substr(7);
      } else if (line.starts_with("data: ")) {
        frame.data = line.substr(6);
      }
    }
    if (size == left.npos) break;
    left.remove_prefix(1);
    frame.rest.remove_suffix(left.size());
    begin_ = scanned_ = buffer_.size() - left.size();
    if (frame.data.data() != nullptr) return true;
  }
  scanned_ = buffer_.size();
  return false;
}

}  // namespace llorch
