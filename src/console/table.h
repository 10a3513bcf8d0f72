// A plain table that fits 80 columns: no lines, no colour, the widest text column gives way.
// Threads: one.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace llorch {

class Table {
 public:
  struct Column {
    std::string title;
    bool right = false;     // numbers
    bool shortens = false;  // may be cut where the row does not fit
  };
  explicit Table(std::vector<Column> columns);
  // Shape: one cell a column. An empty cell is shown as "-".
  void add(std::vector<std::string> cells);
  std::string render(std::size_t width = 80) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace llorch
