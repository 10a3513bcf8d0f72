// `--json`: one JSON document on stdout, ended by a newline. Threads: one.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <string_view>

namespace llorch {

// Two-space indentation, keys in the order given.
std::string pretty_json(const boost::json::value& value);
void print_json(const boost::json::value& value);
// Writes all of `text` to stdout; false when nobody reads it any more.
bool print_text(std::string_view text);

}  // namespace llorch
