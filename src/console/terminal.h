// What the streams of this process can show, and text measured in terminal columns.
// Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace llorch {

struct Terminal {
  bool interactive = false;  // a terminal that can move its cursor
  std::size_t columns = 80;
};
// Of file descriptor 1 or 2.
Terminal terminal_of(int descriptor);

// Columns the text takes: one a character, two for wide ones such as ✅, none for combining ones.
std::size_t display_width(std::string_view utf8);
// With a space for each control character: what others wrote must not steer the terminal, or look
// like a line of ours.
std::string one_line(std::string_view utf8);
// Cut to `columns` with "…" at the end where it was longer.
std::string shorten(std::string_view utf8, std::size_t columns);
// "98.1 MB", "4.4 GB": decimal, one digit, as disks and hubs print sizes.
std::string human_bytes(std::uint64_t bytes);
// "12s", "3m 5s", "2h 1m".
std::string human_duration(std::int64_t seconds);

}  // namespace llorch
