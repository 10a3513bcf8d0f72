#include "console/table.h"

#include <algorithm>
#include <cassert>

#include "console/terminal.h"

namespace llorch {
namespace {

constexpr std::size_t gap = 2;
constexpr std::size_t least_width = 8;  // a shortened column still says something

std::string padded(const std::string& text, std::size_t width, bool right) {
  const std::size_t taken = display_width(text);
  const std::string space(width > taken ? width - taken : 0, ' ');
  return right ? space + text : text + space;
}

}  // namespace

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

void Table::add(std::vector<std::string> cells) {
  assert(cells.size() == columns_.size());
  for (auto& cell : cells) {
    cell = cell.empty() ? "-" : one_line(cell);
  }
  rows_.push_back(std::move(cells));
}

std::string Table::render(std::size_t width) const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t widest = display_width(columns_[i].title);
    for (const auto& row : rows_) widest = std::max(widest, display_width(row[i]));
    widths.push_back(widest);
  }
  const auto total = [&] {
    std::size_t sum = gap * (widths.size() - 1);
    for (const auto each : widths) sum += each;
    return sum;
  };
  while (total() > width) {
    std::size_t* widest = nullptr;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const bool gives = columns_[i].shortens && widths[i] > least_width;
      if (gives && (widest == nullptr || widths[i] > *widest)) widest = &widths[i];
    }
    if (widest == nullptr) break;
    --*widest;
  }

  std::string text;
  const auto add_row = [&](const auto& cell_of) {
    std::string line;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (i > 0) line.append(gap, ' ');
      line += padded(shorten(cell_of(i), widths[i]), widths[i], columns_[i].right);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  add_row([&](std::size_t i) { return columns_[i].title; });
  for (const auto& row : rows_) add_row([&](std::size_t i) { return row[i]; });
  return text;
}

}  // namespace llorch
