// What a program prints on stdout: text, or with `--json` one JSON document and a newline; and
// whether all of it was written. Threads: one.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <string_view>

namespace llorch {

// Two-space indentation, keys in the order given.
std::string pretty_json(const boost::json::value& value);
void print_json(const boost::json::value& value);
// Writes all of `text` to stdout; false when nobody reads it any more, or the disk is full.
bool print_text(std::string_view text);
// How a program ends that has printed: with `code`, unless something could not be written. That is
// reported, and a failure; a reader that left (`| head`) has read what it wanted.
int exit_with_output(int code);

}  // namespace llorch
