#include "engine/schema_patterns.h"

#include <algorithm>
#include <array>
#include <boost/json/serialize.hpp>
#include <json-schema-to-grammar.h>

#include "protocol/json_parse.h"

namespace llorch {

namespace json = boost::json;

namespace {

// Thrown through the library, so that it never gets to print its warnings.
struct Asked {
  bool any_string;
};

// For a pattern it cannot follow the library adds its rule of any string, which is then known under
// the name it gives back. A pattern that is no regex is left to it: that one is an error.
bool is_foreign(const json::string& pattern) {
  common_chat_schema_string schema;
  schema.pattern = std::string(pattern);
  try {
    build_grammar([&](const common_grammar_builder& builder) {
      const auto rule = builder.add_schema("asked", schema);
      throw Asked{!rule.empty() && builder.add_rule(rule, "string") == rule};
    });
  } catch (const Asked& asked) {
    return asked.any_string;
  }
  return false;
}

// True when something was taken out. What is data, not schema, stays as it is.
bool clean(json::value& value) {
  bool changed = false;
  if (auto* const list = value.if_array()) {
    for (auto& item : *list) changed |= clean(item);
    return changed;
  }
  auto* const object = value.if_object();
  if (object == nullptr) return false;
  constexpr std::array<std::string_view, 4> data = {"const", "enum", "default", "examples"};
  for (auto& [name, member] : *object) {
    if (std::ranges::find(data, std::string_view(name)) == data.end()) changed |= clean(member);
  }
  const auto* const pattern = object->if_contains("pattern");
  if (pattern != nullptr && pattern->is_string() && is_foreign(pattern->get_string())) {
    object->stable_erase(object->find("pattern"));
    changed = true;
  }
  return changed;
}

}  // namespace

Result<std::string> without_foreign_patterns(const std::string& schema_json) {
  if (!schema_json.contains("pattern")) return schema_json;
  auto schema = parse_json(schema_json);
  if (!schema) return fail(schema.error());
  return clean(*schema) ? json::serialize(*schema) : schema_json;
}

}  // namespace llorch
