#include "protocol/field_reader.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <limits>
#include <utility>

#include "protocol/json_text.h"
#include "protocol/utf8.h"

namespace llorch {

namespace json = boost::json;

namespace {

std::string as_text(double value) {
  std::string out;
  append_json_number(out, value);
  return out;
}

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7F;
}

}  // namespace

void Violations::add(std::string field, std::string constraint, std::string message,
                     std::optional<std::string> value) {
  if (list_.size() == limits::violations_max) return;
  list_.push_back({std::move(field), std::move(constraint), std::move(message), std::move(value)});
}

Error Violations::error() && {
  std::string message = list_.empty() ? "the request is not valid" : list_.front().message;
  if (list_.size() > 1) message += " (and " + std::to_string(list_.size() - 1) + " more)";
  return {
      .code = Code::invalid_request, .message = std::move(message), .violations = std::move(list_)};
}

std::string std_string(const json::string& text) {
  return {text.data(), text.size()};
}

std::optional<std::string> shown(const json::value& value) {
  if (value.is_string() || value.is_structured()) return std::nullopt;
  return json::serialize(value);
}

std::optional<std::uint64_t> whole_number(const json::value& value) {
  if (value.is_uint64()) return value.get_uint64();
  if (value.is_int64()) {
    if (value.get_int64() < 0) return std::nullopt;
    return static_cast<std::uint64_t>(value.get_int64());
  }
  if (!value.is_double()) return std::nullopt;
  constexpr double exact_max = 9007199254740992;  // 2^53: above it a double skips whole numbers
  const double number = value.get_double();
  if (!(number >= 0 && number <= exact_max) || number != std::floor(number)) return std::nullopt;
  return static_cast<std::uint64_t>(number);
}

std::optional<std::int32_t> token_id(const json::value& value) {
  const auto number = whole_number(value);
  if (!number || *number > std::numeric_limits<std::int32_t>::max()) return std::nullopt;
  return static_cast<std::int32_t>(*number);
}

FieldReader::FieldReader(const json::object& object, Violations& violations, std::string path)
    : object_(object), violations_(violations), path_(std::move(path)) {
  constexpr std::size_t usual_fields = 32;
  asked_.reserve(usual_fields);
}

void FieldReader::add(std::string_view name, std::string constraint, std::string message,
                      std::optional<std::string> value) {
  violations_.add(path(name), std::move(constraint), path(name) + " " + std::move(message),
                  std::move(value));
}

const json::value* FieldReader::any(std::string_view name) {
  asked_.push_back(name);
  const auto* const value = object_.if_contains(json::string_view(name.data(), name.size()));
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::optional<double> FieldReader::number(std::string_view name, NumberRange range) {
  const auto* const value = any(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) {
    add(name, "number", "must be a number");
    return std::nullopt;
  }
  const auto number = value->to_number<double>();
  const bool low = range.above_min ? number <= range.min : number < range.min;
  if (!std::isfinite(number) || low || number > range.max) {
    const std::string constraint =
        (range.above_min ? "> " : ">= ") + as_text(range.min) + ", <= " + as_text(range.max);
    add(name, constraint, "must be " + constraint, shown(*value));
    return std::nullopt;
  }
  return number;
}

std::optional<std::uint64_t> FieldReader::integer(std::string_view name, std::uint64_t min,
                                                  std::uint64_t max) {
  const auto* const value = any(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) {
    add(name, "integer", "must be a whole number");
    return std::nullopt;
  }
  const auto number = whole_number(*value);
  if (!number || *number < min || *number > max) {
    std::string constraint = ">= " + std::to_string(min);
    if (max != std::numeric_limits<std::uint64_t>::max()) {
      constraint += ", <= " + std::to_string(max);
    }
    add(name, constraint, "must be a whole number " + constraint, shown(*value));
    return std::nullopt;
  }
  return number;
}

std::optional<std::uint64_t> FieldReader::seed(std::string_view name, bool negatives) {
  const auto* const value = any(name);
  if (value == nullptr) return std::nullopt;
  if (negatives && value->is_int64()) return static_cast<std::uint64_t>(value->get_int64());
  if (const auto number = whole_number(*value)) return number;
  add(name, "uint64", "must be a whole number of 0 to 18446744073709551615", shown(*value));
  return std::nullopt;
}

std::optional<bool> FieldReader::boolean(std::string_view name) {
  const auto* const value = any(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_bool()) return value->get_bool();
  add(name, "boolean", "must be true or false", shown(*value));
  return std::nullopt;
}

std::optional<std::string> FieldReader::text(std::string_view name, TextRange range) {
  const auto* const value = any(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) {
    add(name, "string", "must be a string", shown(*value));
    return std::nullopt;
  }
  const auto& string = value->get_string();
  if (string.size() < range.bytes_min || string.size() > range.bytes_max) {
    const auto constraint =
        std::to_string(range.bytes_min) + ".." + std::to_string(range.bytes_max) + " bytes";
    add(name, constraint, "must have " + constraint + ", it has " + std::to_string(string.size()));
    return std::nullopt;
  }
  if (!range.control_characters && std::any_of(string.begin(), string.end(), is_control)) {
    add(name, "no control characters", "must not contain control characters");
    return std::nullopt;
  }
  return std_string(string);
}

const json::array* FieldReader::array(std::string_view name, std::size_t items_max) {
  const auto* const value = any(name);
  if (value == nullptr) return nullptr;
  if (!value->is_array()) {
    add(name, "array", "must be an array", shown(*value));
    return nullptr;
  }
  if (value->get_array().size() > items_max) {
    add(name, "<= " + std::to_string(items_max) + " items",
        "must have at most " + std::to_string(items_max) + " items, it has " +
            std::to_string(value->get_array().size()));
    return nullptr;
  }
  return &value->get_array();
}

const json::object* FieldReader::object(std::string_view name) {
  const auto* const value = any(name);
  if (value == nullptr) return nullptr;
  if (value->is_object()) return &value->get_object();
  add(name, "object", "must be an object", shown(*value));
  return nullptr;
}

void FieldReader::refuse_others() {
  for (const auto& member : object_) {
    constexpr std::size_t name_bytes_max = 64;  // a longer one is no typing error to point out
    const std::string_view name(member.key().data(), member.key().size());
    if (std::ranges::find(asked_, name) != asked_.end()) continue;
    add(utf8_beginning(name, name_bytes_max), "known field", "is not a field of this request");
  }
}

}  // namespace llorch
