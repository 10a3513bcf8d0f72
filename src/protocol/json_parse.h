// JSON read with limits: the only door to Boost.JSON's parser.
// Threads: any.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/storage_ptr.hpp>
#include <boost/json/value.hpp>
#include <string_view>

#include "base/limits.h"
#include "base/result.h"

namespace llorch {

// Of names given twice the last one counts, as in Python and JavaScript.
// Errors: too_large (more than `bytes_max`), invalid_request (not JSON, not UTF-8, a lone
// surrogate, a number no double can hold, deeper than limits::json_depth_max).
// `memory`: where the values are put; it outlives them.
Result<boost::json::value> parse_json(std::string_view text,
                                      std::size_t bytes_max = limits::body_bytes_max,
                                      boost::json::storage_ptr memory = {});
// The same, and refuses anything but an object.
Result<boost::json::object> parse_json_object(std::string_view text,
                                              std::size_t bytes_max = limits::body_bytes_max,
                                              boost::json::storage_ptr memory = {});

}  // namespace llorch
