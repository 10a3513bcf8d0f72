#include "policy/policy.h"

namespace llorch {

std::string_view wire_name(Priority priority) {
  return priority == Priority::batch ? "batch" : "interactive";
}

std::optional<Priority> priority_from_wire(std::string_view name) {
  if (name == "interactive") return Priority::interactive;
  if (name == "batch") return Priority::batch;
  return std::nullopt;
}

}  // namespace llorch
