#include "remote/key_text.h"

#include <fmt/format.h>

#include "console/table.h"
#include "console/terminal.h"
#include "remote/reply_fields.h"

namespace llorch {
namespace {

namespace json = boost::json;

std::string models_of(const json::object& key) {
  std::string names;
  for (const auto& model : list_field(key, "models")) {
    if (!model.is_string()) continue;
    names += (names.empty() ? "" : ",") + std::string(model.get_string());
  }
  return names.empty() ? "all" : names;
}

// "active", "until 2030-01-31", "expired" or "revoked".
std::string status_of(const json::object& key) {
  constexpr std::size_t day = 10;  // of an RFC 3339 time
  const auto status = text_field(key, "status");
  const auto expires_at = text_field(key, "expires_at");
  if (status != "active" || expires_at.empty()) return status;
  return "until " + expires_at.substr(0, day);
}

}  // namespace

std::string keys_table(const json::object& reply) {
  const auto& keys = list_field(reply, "keys");
  if (keys.empty()) return "No keys\n";
  Table table({{"KEY"},
               {"NAME", false, true},
               {"ROLE"},
               {"TENANT", false, true},
               {"MODELS", false, true},
               {"TOK/MIN", true},
               {"STATUS"}});
  for (const auto& entry : keys) {
    const auto& key = as_object(entry);
    const auto bound = integer_field(key, "tokens_per_minute");
    table.add({text_field(key, "key_id"), text_field(key, "name"), text_field(key, "role"),
               text_field(key, "tenant"), models_of(key), bound == 0 ? "" : std::to_string(bound),
               status_of(key)});
  }
  return table.render();
}

std::string key_note(const json::object& key) {
  const auto tenant = text_field(key, "tenant");
  return one_line(fmt::format("Key {} ({}), {}{}: shown this once; programs take it as "
                              "LLORCH_API_TOKEN",
                              text_field(key, "name"), text_field(key, "key_id"),
                              text_field(key, "role"), tenant.empty() ? "" : " of " + tenant)) +
         "\n";
}

}  // namespace llorch
