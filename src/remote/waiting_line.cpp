#include "remote/waiting_line.h"

#include <string>
#include <utility>

namespace llorch {
namespace {

constexpr std::string_view signs = "|/-\\";
constexpr std::string_view erase_line = "\r\x1b[K";

}  // namespace

WaitingLine::WaitingLine(std::function<void(std::string_view)> write, bool terminal)
    : write_(std::move(write)), terminal_(terminal) {}

void WaitingLine::show(std::string_view text) {
  if (!terminal_) return;
  shown_ = true;
  std::string line(erase_line);
  line += signs[turn_++ % signs.size()];
  line += ' ';
  line += text;
  write_(line);
}

void WaitingLine::clear() {
  if (!std::exchange(shown_, false)) return;
  write_(erase_line);
}

}  // namespace llorch
