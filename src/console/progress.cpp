#include "console/progress.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>

namespace llorch {
namespace {

using namespace std::chrono_literals;
constexpr auto redraw_each = 100ms;
constexpr auto plain_line_each = 5s;
constexpr auto rate_window = 5s;

}  // namespace

Progress::Progress(std::string label, Terminal terminal, const Clock& clock, Write write)
    : label_(std::move(label)), terminal_(terminal), clock_(clock), write_(std::move(write)) {}

Progress::~Progress() {
  if (open_) write_("\n");
}

void Progress::update(std::uint64_t done, std::uint64_t total) {
  const auto now = clock_.now();
  const bool first = marks_.empty();
  done_ = done;
  total_ = total;
  if (first || now - marks_.back().at >= redraw_each) marks_.push_back({now, done});
  while (marks_.size() > 2 && now - marks_[1].at > rate_window) marks_.pop_front();

  if (terminal_.interactive) {
    if (!first && now - drawn_ < redraw_each) return;
    redraw(now);
    open_ = true;
    drawn_ = now;
  } else if (first) {
    drawn_ = now;  // a quick transfer prints its end only
  } else if (now - drawn_ >= plain_line_each) {
    write_(line(now) + "\n");
    drawn_ = now;
  }
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  const auto now = clock_.now();
  if (terminal_.interactive) redraw(now);
  write_(terminal_.interactive ? "\n" : line(now) + "\n");
  open_ = false;
}

void Progress::redraw(SteadyTime now) {
  const std::string text = line(now);
  const std::size_t columns = display_width(text);
  const std::size_t blanks = drawn_columns_ > columns ? drawn_columns_ - columns : 0;
  write_("\r" + text + std::string(blanks, ' '));
  drawn_columns_ = columns;
}

double Progress::rate(SteadyTime now) const {
  if (marks_.empty()) return 0;
  const double seconds = elapsed_ms(marks_.front().at, now) / 1000;
  if (seconds <= 0 || done_ < marks_.front().done) return 0;
  return static_cast<double>(done_ - marks_.front().done) / seconds;
}

// "smollm2  45%  [#########...........]  44.1 MB of 98.2 MB  12.0 MB/s  4s left"
std::string Progress::line(SteadyTime now) const {
  const double speed = rate(now);
  std::string text = shorten(label_, 24);
  if (total_ > 0) {
    const auto done = std::min(done_, total_);
    const auto percent =
        static_cast<unsigned>(100.0 * static_cast<double>(done) / static_cast<double>(total_));
    text += fmt::format("  {:3}%", percent);
    if (terminal_.interactive) {
      constexpr std::size_t cells = 14;
      const std::size_t full = std::min<std::size_t>(cells, percent * cells / 100);
      text += "  [" + std::string(full, '#') + std::string(cells - full, '.') + "]";
    }
    text += fmt::format("  {} of {}", human_bytes(done_), human_bytes(total_));
  } else {
    text += "  " + human_bytes(done_);
  }
  if (speed > 0) {
    text += "  " + human_bytes(static_cast<std::uint64_t>(speed)) + "/s";
    if (total_ > done_ && !finished_) {
      const auto seconds = static_cast<double>(total_ - done_) / speed;
      text += "  " + human_duration(static_cast<std::int64_t>(seconds) + 1) + " left";
    }
  }
  return shorten(text, terminal_.columns - 1);
}

Progress::Write write_to_stderr() {
  return [](const std::string& bytes) {
    std::fwrite(bytes.data(), 1, bytes.size(), stderr);
    std::fflush(stderr);
  };
}

}  // namespace llorch
