// Members of a reply, whatever it holds: an older or a newer orchestratord may say less or more.
// Pure. Threads: any.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace llorch {

// Absent, or of another kind: "", nullopt, 0, false, the empty list or object.
std::string text_field(const boost::json::object& object, std::string_view name);
std::optional<double> number_field(const boost::json::object& object, std::string_view name);
std::int64_t integer_field(const boost::json::object& object, std::string_view name);
bool flag_field(const boost::json::object& object, std::string_view name);
const boost::json::array& list_field(const boost::json::object& object, std::string_view name);
const boost::json::object& object_field(const boost::json::object& object, std::string_view name);
// A row of a list; the empty object where it is something else.
const boost::json::object& as_object(const boost::json::value& value);

}  // namespace llorch
