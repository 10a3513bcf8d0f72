#include "console/terminal.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace llorch {
namespace {

struct Character {
  char32_t code = 0;
  std::size_t bytes = 1;
};

// The first character of a non-empty text; a stray byte counts as one character.
Character first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t bytes = byte(0) < 0x80 ? 1 : byte(0) >= 0xF0 ? 4 : byte(0) >= 0xE0 ? 3 : 2;
  if (bytes == 1 || bytes > text.size()) return {byte(0), 1};
  char32_t code = byte(0) & (0xFFU >> (bytes + 1));
  for (std::size_t i = 1; i < bytes; ++i) code = (code << 6) | (byte(i) & 0x3FU);
  return {code, bytes};
}

// The ranges that matter for names and our own marks, not the whole of Unicode's table.
std::size_t width_of(char32_t code) {
  const auto within = [&](char32_t first, char32_t last) { return code >= first && code <= last; };
  if (within(0x0300, 0x036F) || within(0xFE00, 0xFE0F) || code == 0x200D) return 0;
  const bool wide = within(0x1100, 0x115F) || within(0x2E80, 0xA4CF) || within(0xAC00, 0xD7A3) ||
                    within(0xF900, 0xFAFF) || within(0xFE30, 0xFE6F) || within(0xFF00, 0xFF60) ||
                    within(0x1F300, 0x1FAFF) || within(0x20000, 0x3FFFD) || code == 0x2705 ||
                    code == 0x274C;
  return wide ? 2 : 1;
}

}  // namespace

Terminal terminal_of(int descriptor) {
  Terminal terminal;
  const char* const kind = std::getenv("TERM");
  const bool dumb = kind != nullptr && std::strcmp(kind, "dumb") == 0;
  terminal.interactive = ::isatty(descriptor) == 1 && !dumb;
  struct winsize size{};
  if (terminal.interactive && ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    terminal.columns = size.ws_col;
  }
  return terminal;
}

std::size_t display_width(std::string_view utf8) {
  std::size_t width = 0;
  while (!utf8.empty()) {
    const auto character = first_character(utf8);
    width += width_of(character.code);
    utf8.remove_prefix(character.bytes);
  }
  return width;
}

std::string one_line(std::string_view utf8) {
  std::string line;
  line.reserve(utf8.size());
  while (!utf8.empty()) {
    const auto [code, bytes] = first_character(utf8);
    const bool control = code < 0x20 || code == 0x7F || (bytes == 2 && code < 0xA0);
    line += control ? std::string_view(" ") : utf8.substr(0, bytes);
    utf8.remove_prefix(bytes);
  }
  return line;
}

std::string shorten(std::string_view utf8, std::size_t columns) {
  if (display_width(utf8) <= columns) return std::string(utf8);
  if (columns == 0) return {};
  std::size_t bytes = 0;
  for (std::size_t width = 0; bytes < utf8.size();) {
    const auto character = first_character(utf8.substr(bytes));
    width += width_of(character.code);
    if (width > columns - 1) break;
    bytes += character.bytes;
  }
  return std::string(utf8.substr(0, bytes)) + "…";
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr std::array units = {"kB", "MB", "GB", "TB"};
  if (bytes < 1000) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1000;
  std::size_t unit = 0;
  // 999.95 would be printed as 1000.0.
  while (value >= 999.95 && unit + 1 < units.size()) {
    value /= 1000;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, units.at(unit));
}

std::string human_duration(std::int64_t seconds) {
  seconds = std::max<std::int64_t>(seconds, 0);
  if (seconds < 60) return fmt::format("{}s", seconds);
  if (seconds < 3600) return fmt::format("{}m {}s", seconds / 60, seconds % 60);
  return fmt::format("{}h {}m", seconds / 3600, seconds % 3600 / 60);
}

}  // namespace llorch
