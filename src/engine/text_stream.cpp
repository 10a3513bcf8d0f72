#include "engine/text_stream.h"

#include <algorithm>
#include <utility>

#include "protocol/utf8.h"

namespace llorch {

TextStream::TextStream(std::vector<std::string> stops) : stops_(std::move(stops)) {}

// Where the part of kept_[0, size) begins that may still become a stop string.
std::size_t TextStream::held_from(std::size_t size) const {
  std::size_t from = size;
  for (const auto& stop : stops_) {
    const auto longest = std::min(stop.size() - 1, size);
    for (std::size_t length = longest; length > 0; --length) {
      if (kept_.compare(size - length, length, stop, 0, length) == 0) {
        from = std::min(from, size - length);
        break;
      }
    }
  }
  return from;
}

TextStream::Step TextStream::feed(std::string_view piece) {
  kept_ += piece;
  Step step;
  std::size_t at = std::string::npos;
  for (std::size_t i = 0; i < stops_.size(); ++i) {
    const auto found = kept_.find(stops_[i]);
    if (found < at) {
      at = found;
      step.stop_index = static_cast<int>(i);
    }
  }
  if (step.stop_index >= 0) {
    step.text = utf8_replaced(std::string_view(kept_).substr(0, at));
    kept_.clear();
    return step;
  }
  const auto whole = kept_.size() - utf8_incomplete_tail(kept_);
  const auto show = std::min(whole, held_from(kept_.size()));
  step.text = utf8_replaced(std::string_view(kept_).substr(0, show));
  kept_.erase(0, show);
  step.held = !kept_.empty();
  return step;
}

std::string TextStream::flush() {
  return utf8_replaced(std::exchange(kept_, {}));
}

}  // namespace llorch
