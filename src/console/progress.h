// A progress bar with rate and time left: redrawn in place on a terminal (by a carriage return and
// blanks, so NO_COLOR has nothing to forbid), one plain line each five seconds elsewhere.
// Threads: one. Lifetime: ends its line when destroyed.
#pragma once

#include <cstdint>
#include <cstdio>
#include <deque>
#include <functional>
#include <string>

#include "base/clock.h"
#include "console/terminal.h"

namespace llorch {

class Progress {
 public:
  using Write = std::function<void(const std::string& bytes)>;
  Progress(std::string label, Terminal terminal, const Clock& clock, Write write);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `total` 0 = not known. Draws at most ten times a second, or each five seconds when plain.
  void update(std::uint64_t done, std::uint64_t total);
  // Draws the last state once more and ends the line.
  void finish();

 private:
  std::string line(SteadyTime now) const;
  void redraw(SteadyTime now);
  double rate(SteadyTime now) const;

  std::string label_;
  Terminal terminal_;
  const Clock& clock_;
  Write write_;
  struct Mark {
    SteadyTime at;
    std::uint64_t done;
  };
  std::deque<Mark> marks_;  // the last five seconds
  SteadyTime drawn_;
  std::size_t drawn_columns_ = 0;
  std::uint64_t done_ = 0;
  std::uint64_t total_ = 0;
  bool open_ = false;  // a line on the terminal waits for its end
  bool finished_ = false;
};

// To stderr, over the system clock.
Progress::Write write_to_stderr();

}  // namespace llorch
