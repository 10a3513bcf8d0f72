#include "console/waiting_line.h"

#include <string>
#include <utility>

#include "console/terminal.h"

namespace llorch {
namespace {

constexpr std::string_view signs = "|/-\\";

}  // namespace

WaitingLine::WaitingLine(std::function<void(std::string_view)> write, bool terminal)
    : write_(std::move(write)), terminal_(terminal) {}

void WaitingLine::show(std::string_view text) {
  if (!terminal_) return;
  std::string line = "\r";
  line += signs[turn_++ % signs.size()];
  line += ' ';
  line += text;
  const std::size_t columns = display_width(text) + 2;
  if (columns_ > columns) line.append(columns_ - columns, ' ');
  columns_ = columns;
  write_(line);
}

void WaitingLine::clear() {
  if (columns_ == 0) return;
  write_("\r" + std::string(std::exchange(columns_, 0), ' ') + "\r");
}

}  // namespace llorch
