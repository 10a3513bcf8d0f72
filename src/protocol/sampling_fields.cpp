#include <boost/json/serialize.hpp>
#include <charconv>

#include "protocol/generation_fields.h"
#include "protocol/schema_size.h"

namespace llorch {

namespace json = boost::json;

namespace {

constexpr std::size_t logit_bias_max = 300;  // OpenAI's own bound

std::string compact(const json::value& value) {
  return json::serialize(value);
}

std::optional<Token> token_of_key(std::string_view key) {
  Token token = 0;
  const auto [stop, status] = std::from_chars(key.data(), key.data() + key.size(), token);
  if (status != std::errc{} || stop != key.data() + key.size() || token < 0) return std::nullopt;
  return token;
}

void read_logit_bias(FieldReader& fields, SamplingFields& sampling) {
  const auto* const bias = fields.object("logit_bias");
  if (bias == nullptr) return;
  if (bias->size() > logit_bias_max) {
    return fields.add("logit_bias", "<= 300 entries", "must have at most 300 entries");
  }
  for (const auto& entry : *bias) {
    const auto token = token_of_key({entry.key().data(), entry.key().size()});
    if (!token || !entry.value().is_number()) {
      return fields.add("logit_bias", "token id: number", "must map token ids to numbers");
    }
    const auto value = entry.value().to_number<double>();
    if (!(value >= -100 && value <= 100)) {
      return fields.add("logit_bias", ">= -100, <= 100", "has a value outside of -100..100",
                        shown(entry.value()));
    }
    sampling.logit_bias.emplace_back(*token, value);
  }
}

// Takes the schema of {"schema":{…}} as text.
void take_schema(FieldReader& fields, const json::object& holder, OutputFormat& format) {
  const auto* const schema = holder.if_contains("schema");
  if (schema == nullptr || !schema->is_object()) {
    return fields.add("response_format", "schema", "needs a JSON schema object in `schema`");
  }
  format = {.kind = OutputFormat::Kind::json_schema, .source = compact(*schema)};
  if (format.source.size() > limits::schema_bytes_max) {
    fields.add("response_format", "<= 65536 bytes", "has a schema of more than 65536 bytes");
  }
  if (has_too_many_properties(*schema)) {
    fields.add("response_format", "<= 256 properties", "has an object of more than 256 properties");
  }
}

void read_response_format(FieldReader& fields, OutputFormat& format) {
  const auto* const wanted = fields.object("response_format");
  if (wanted == nullptr) return;
  const auto* const type = wanted->if_contains("type");
  const std::string kind =
      type != nullptr && type->is_string() ? std_string(type->get_string()) : std::string();
  if (kind == "text") return;
  if (kind == "json_object") {
    format.kind = OutputFormat::Kind::json_object;
    // llama-server takes a schema here too.
    if (wanted->contains("schema")) take_schema(fields, *wanted, format);
    return;
  }
  if (kind == "json_schema") {
    const auto* const holder = wanted->if_contains("json_schema");
    const bool nested = holder != nullptr && holder->is_object();
    return take_schema(fields, nested ? holder->get_object() : *wanted, format);
  }
  fields.add("response_format", "text, json_object or json_schema",
             "must have the type text, json_object or json_schema");
}

}  // namespace

void read_sampling(FieldReader& fields, SamplingFields& sampling) {
  constexpr std::uint64_t top_k_max = 0xFFFF'FFFF;
  sampling.temperature = fields.number("temperature", {.min = 0, .max = 2});
  sampling.top_p = fields.number("top_p", {.min = 0, .max = 1});
  sampling.min_p = fields.number("min_p", {.min = 0, .max = 1});
  sampling.repetition_penalty =
      fields.number("repetition_penalty", {.min = 0, .max = 2, .above_min = true});
  if (const auto top_k = fields.integer("top_k", 0, top_k_max)) {
    sampling.top_k = static_cast<std::uint32_t>(*top_k);
  }
}

void read_openai_sampling(FieldReader& fields, SamplingFields& sampling) {
  const auto penalty = fields.number("repeat_penalty", {.min = 0, .max = 2, .above_min = true});
  if (!sampling.repetition_penalty) sampling.repetition_penalty = penalty;
  sampling.presence_penalty = fields.number("presence_penalty", {.min = -2, .max = 2});
  sampling.frequency_penalty = fields.number("frequency_penalty", {.min = -2, .max = 2});
  read_logit_bias(fields, sampling);
}

std::vector<std::string> read_stop(FieldReader& fields, bool bare_string) {
  const auto* const given = fields.any("stop");
  if (given == nullptr) return {};
  std::vector<std::string> stops;
  const auto take = [&](const json::value& value) {
    if (!value.is_string() || value.get_string().empty() ||
        value.get_string().size() > limits::stop_bytes_max) {
      fields.add("stop", "1..256 bytes", "must be strings of 1 to 256 bytes");
      return false;
    }
    stops.push_back(std_string(value.get_string()));
    return true;
  };
  if (given->is_string() && bare_string) {
    take(*given);
    return stops;
  }
  const auto* const list = fields.array("stop", limits::stop_strings_max);
  if (list == nullptr) return {};
  for (const auto& value : *list) {
    if (!take(value)) break;
  }
  return stops;
}

OutputFormat read_format(FieldReader& fields) {
  OutputFormat format;
  read_response_format(fields, format);
  auto grammar = fields.text("grammar", {.bytes_min = 1, .bytes_max = limits::grammar_bytes_max});
  if (!grammar) return format;
  if (format.kind != OutputFormat::Kind::text) {
    fields.add("grammar", "not with response_format", "excludes response_format");
  }
  return {.kind = OutputFormat::Kind::grammar, .source = std::move(*grammar)};
}

}  // namespace llorch
