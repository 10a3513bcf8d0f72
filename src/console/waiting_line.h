// One line on stderr that says what a command waits for; gone when the wait is over.
// Redrawn by a carriage return and blanks. Threads: one. Lifetime: clear() before anything else is
// written to the terminal.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string_view>

namespace llorch {

class WaitingLine {
 public:
  static constexpr std::chrono::milliseconds period{100};  // of one turn of the sign

  // Draws only where `terminal` is true.
  WaitingLine(std::function<void(std::string_view)> write, bool terminal);
  void show(std::string_view text);
  void clear();  // idempotent

 private:
  std::function<void(std::string_view)> write_;
  std::size_t turn_ = 0;
  std::size_t columns_ = 0;  // of what is shown; 0 = nothing
  bool terminal_;
};

}  // namespace llorch
