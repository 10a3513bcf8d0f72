// A bound on the objects of a JSON schema. llama.cpp's grammar of one grows with the square of its
// properties in memory and with their cube in time. Threads: any.
#pragma once

#include <boost/json/value.hpp>
#include <cstddef>

namespace llorch {

inline constexpr std::size_t schema_properties_max = 256;  // a quarter of a second

// Whether some object of the schema, however deep, has more properties.
bool has_too_many_properties(const boost::json::value& schema);

}  // namespace llorch
