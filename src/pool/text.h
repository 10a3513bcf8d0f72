// Readings of text and JSON that several files of this folder share. Pure. Threads: any.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace llorch {

std::string upper(std::string_view ascii);
std::string lower(std::string_view ascii);
// Without blanks and line ends on both sides.
std::string_view trim(std::string_view text);
std::string first_line(std::string_view text);  // trimmed
// The text of a field; empty when it is absent or no text.
std::string text_at(const boost::json::object& object, std::string_view key);
// The texts of a list; empty when it is absent or no list.
std::vector<std::string> texts_at(const boost::json::object& object, std::string_view key);

}  // namespace llorch
