#include "protocol/key_request.h"

#include "protocol/field_reader.h"
#include "protocol/json_text.h"

namespace llorch {
namespace {

constexpr TextRange name_range{.bytes_min = 1, .bytes_max = 64, .control_characters = false};
constexpr TextRange id_range{.bytes_min = 1, .bytes_max = 256, .control_characters = false};

std::string priority_of(FieldReader& fields, const char* name, std::string otherwise) {
  auto priority = fields.text(name, id_range).value_or(std::move(otherwise));
  if (priority == "interactive" || priority == "batch") return priority;
  fields.add(name, "interactive or batch", "must be interactive or batch");
  return "batch";
}

std::vector<std::string> models_of(FieldReader& fields) {
  std::vector<std::string> models;
  const auto* const given = fields.array("models", limits::key_models_max);
  if (given == nullptr) return models;
  for (const auto& entry : *given) {
    const bool fits = entry.is_string() && !entry.get_string().empty() &&
                      entry.get_string().size() <= id_range.bytes_max;
    if (!fits) {
      fields.add("models", "a list of 1..256 bytes each", "must be a list of model names");
      return {};
    }
    models.push_back(std_string(entry.get_string()));
  }
  return models;
}

}  // namespace

std::string encode(const KeyRequest& request) {
  std::string out;
  JsonObjectWriter row(out);
  row.string("name", request.name).string("role", request.role);
  if (!request.tenant.empty()) row.string("tenant", request.tenant);
  if (!request.models.empty()) {
    append_json_list(row.key("models"), request.models,
                     [&](const std::string& model) { append_json_string(out, model); });
  }
  if (request.tokens_per_minute > 0) row.integer("tokens_per_minute", request.tokens_per_minute);
  row.string("highest_priority", request.highest_priority);
  if (!request.default_priority.empty()) row.string("default_priority", request.default_priority);
  if (request.expires_in_s) row.integer("expires_in_s", *request.expires_in_s);
  row.end();
  return out;
}

Result<KeyRequest> decode_key_request(std::string_view body) {
  return decode_object(body, [](FieldReader& fields, Violations&) {
    KeyRequest request;
    if (!fields.has("name")) fields.add("name", "required", "is required");
    request.name = fields.text("name", name_range).value_or("");
    request.role = fields.text("role", id_range).value_or(request.role);
    if (request.role != "admin" && request.role != "worker" && request.role != "client") {
      fields.add("role", "admin, worker or client", "must be admin, worker or client");
    }
    request.tenant = fields.text("tenant", id_range)
                         .value_or(request.role == "client" ? request.name : std::string());
    request.models = models_of(fields);
    request.tokens_per_minute = static_cast<std::int64_t>(
        fields.integer("tokens_per_minute", 0, limits::key_tokens_per_minute_max).value_or(0));
    request.highest_priority = priority_of(fields, "highest_priority", "interactive");
    request.default_priority = priority_of(fields, "default_priority", request.highest_priority);
    if (request.highest_priority == "batch" && request.default_priority == "interactive") {
      fields.add("default_priority", "<= highest_priority", "is above highest_priority");
    }
    if (const auto given = fields.integer("expires_in_s", 1, limits::key_lifetime_s_max)) {
      request.expires_in_s = static_cast<std::int64_t>(*given);
    }
    fields.refuse_others();
    return request;
  });
}

}  // namespace llorch
