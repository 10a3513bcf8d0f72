// The screen of `llorch top`. Pure. Threads: any.
#pragma once

#include <boost/json/object.hpp>
#include <cstddef>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace llorch {

struct TopFigures {
  boost::json::object health;   // GET /health
  boost::json::object workers;  // GET /v2/workers
  boost::json::object jobs;     // GET /v2/tasks, those that are on a worker
};

// Lines of at most 80 columns, without control characters but line breaks.
std::string top_text(std::string_view orchestrator, const TopFigures& figures, WallTime now);

// `text` drawn over the screen before it: from the first line on, each cleared to its end, nothing
// of the old one left below. Shape: at most `rows` - 1 lines of `text` are kept, each cut to
// `columns` - 1.
// Source: ECMA-48 CUP, EL and ED.
std::string redraw(std::string_view text, std::size_t rows, std::size_t columns);

}  // namespace llorch
