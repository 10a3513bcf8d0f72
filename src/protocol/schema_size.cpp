#include "protocol/schema_size.h"

#include <algorithm>

namespace llorch {

bool has_too_many_properties(const boost::json::value& schema) {
  if (const auto* const list = schema.if_array()) {
    return std::ranges::any_of(*list, has_too_many_properties);
  }
  const auto* const object = schema.if_object();
  if (object == nullptr) return false;
  return std::ranges::any_of(*object, [](const auto& member) {
    const auto* const properties = member.value().if_object();
    return (member.key() == "properties" && properties != nullptr &&
            properties->size() > schema_properties_max) ||
           has_too_many_properties(member.value());
  });
}

}  // namespace llorch
