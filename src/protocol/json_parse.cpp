#include "protocol/json_parse.h"

#include <boost/json/parse.hpp>
#include <boost/json/parse_options.hpp>
#include <utility>

namespace llorch {

namespace json = boost::json;

namespace {

// A body that cannot be read breaks one rule; it is listed like any other.
std::unexpected<Error> refuse(const std::string& constraint, const std::string& message) {
  return fail(
      Error{.code = Code::invalid_request,
            .message = message,
            .violations = {{.field = "body", .constraint = constraint, .message = message}}});
}

}  // namespace

Result<json::value> parse_json(std::string_view text, std::size_t bytes_max,
                               json::storage_ptr memory) {
  if (text.size() > bytes_max) {
    return fail(Code::too_large, "the body has " + std::to_string(text.size()) +
                                     " bytes, at most " + std::to_string(bytes_max) + " are taken");
  }
  json::parse_options options;
  options.max_depth = limits::json_depth_max;
  json::error_code status;
  json::value value(memory);  // of the same memory as what is parsed, which is then moved
  try {
    value = json::parse(json::string_view(text.data(), text.size()), status, memory, options);
  } catch (const std::exception&) {  // no memory, or a length it will not hold
    return fail(Code::too_large, "the body is more JSON than can be held");
  }
  if (status == json::error::too_deep) {
    return refuse("depth", "the body is nested deeper than " +
                               std::to_string(limits::json_depth_max) + " levels");
  }
  if (status) {
    return refuse("json", "the body is not valid JSON: " + status.message());
  }
  return value;
}

Result<json::object> parse_json_object(std::string_view text, std::size_t bytes_max,
                                       json::storage_ptr memory) {
  auto value = parse_json(text, bytes_max, std::move(memory));
  if (!value) return fail(std::move(value.error()));
  if (!value->is_object()) return refuse("object", "the body must be a JSON object");
  return std::move(value->get_object());
}

}  // namespace llorch
