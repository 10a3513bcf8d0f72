#include "engine/protected_text.h"

#include <charconv>
#include <utility>

namespace llorch {
namespace {

constexpr std::string_view mark_open = "\xEE\x80\x80";   // U+E000, private use
constexpr std::string_view mark_close = "\xEE\x80\x81";  // U+E001

}  // namespace

ProtectedText::ProtectedText(const std::vector<std::string>& control_texts, std::string nonce)
    : control_texts_(control_texts), begin_(std::string(mark_open) + std::move(nonce) + ":") {}

std::string ProtectedText::protect(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  while (!text.empty()) {
    std::size_t matched = 0;
    for (const auto& control : control_texts_) {
      // The first byte decides nearly always, so the scan stays linear in practice.
      if (control.front() == text.front() && text.starts_with(control)) {
        matched = control.size();
        break;
      }
    }
    if (matched == 0) {
      safe += text.front();
      text.remove_prefix(1);
      continue;
    }
    safe += begin_ + std::to_string(replaced_.size());
    safe += mark_close;
    replaced_.emplace_back(text.substr(0, matched));
    text.remove_prefix(matched);
  }
  return safe;
}

std::vector<prompt::Segment> ProtectedText::split(std::string_view rendered) const {
  std::vector<prompt::Segment> segments;
  const auto add = [&](std::string_view text, bool special) {
    if (!text.empty()) segments.push_back({std::string(text), special});
  };
  while (true) {
    const auto at = rendered.find(begin_);
    if (at == rendered.npos) break;
    add(rendered.substr(0, at), true);
    rendered.remove_prefix(at + begin_.size());
    std::size_t index = replaced_.size();
    const auto [stop, status] =
        std::from_chars(rendered.data(), rendered.data() + rendered.size(), index);
    rendered.remove_prefix(static_cast<std::size_t>(stop - rendered.data()));
    if (status == std::errc{} && index < replaced_.size()) add(replaced_[index], false);
    if (rendered.starts_with(mark_close)) rendered.remove_prefix(mark_close.size());
  }
  add(rendered, true);
  return segments;
}

}  // namespace llorch
