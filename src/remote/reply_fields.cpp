#include "remote/reply_fields.h"

#include <boost/json/value.hpp>
#include <cmath>

namespace llorch {
namespace {

namespace json = boost::json;

const json::object no_object;
const json::array no_list;

}  // namespace

std::string text_field(const json::object& object, std::string_view name) {
  const auto* const value = object.if_contains(name);
  if (value == nullptr || !value->is_string()) return {};
  return std::string(value->get_string());
}

std::optional<double> number_field(const json::object& object, std::string_view name) {
  const auto* const value = object.if_contains(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_double()) return value->get_double();
  if (value->is_int64()) return static_cast<double>(value->get_int64());
  if (value->is_uint64()) return static_cast<double>(value->get_uint64());
  return std::nullopt;
}

std::int64_t integer_field(const json::object& object, std::string_view name) {
  constexpr double exact_max = 9'007'199'254'740'992;  // 2^53
  const double number = number_field(object, name).value_or(0);
  return std::abs(number) <= exact_max ? static_cast<std::int64_t>(number) : 0;
}

bool flag_field(const json::object& object, std::string_view name) {
  const auto* const value = object.if_contains(name);
  return value != nullptr && value->is_bool() && value->get_bool();
}

const json::array& list_field(const json::object& object, std::string_view name) {
  const auto* const value = object.if_contains(name);
  return value != nullptr && value->is_array() ? value->get_array() : no_list;
}

const json::object& object_field(const json::object& object, std::string_view name) {
  const auto* const value = object.if_contains(name);
  return value != nullptr ? as_object(*value) : no_object;
}

const json::object& as_object(const json::value& value) {
  return value.is_object() ? value.get_object() : no_object;
}

}  // namespace llorch
