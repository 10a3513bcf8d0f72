#include "orchestrator/frame_splitter.h"

#include <algorithm>

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

bool FrameSplitter::next(RelayFrame& frame) {
  while (true) {
    const auto end = buffer_.find("\n\n", std::max(scanned_, begin_));
    if (end == buffer_.npos) {
      scanned_ = std::max(begin_, buffer_.empty() ? 0 : buffer_.size() - 1);
      return false;
    }
    const auto whole = std::string_view(buffer_).substr(begin_, end + 2 - begin_);
    begin_ = scanned_ = end + 2;
    frame = {.id = {}, .type = {}, .data = {}, .rest = whole};
    for (auto left = whole; left.size() > 1;) {
      const auto line = left.substr(0, left.find('\n'));
      left.remove_prefix(line.size() + 1);
      if (line.starts_with("id: ")) {
        frame.id = line.substr(4);
        frame.rest = left;
      } else if (line.starts_with("event: ")) {
        frame.type = line.substr(7);
      } else if (line.starts_with("data: ")) {
        frame.data = line.substr(6);
      }
    }
    if (frame.data.data() != nullptr) return true;
  }
}

}  // namespace llorch
