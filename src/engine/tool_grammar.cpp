#include <algorithm>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>
#include <json-schema-to-grammar.h>

#include "engine/gbnf.h"
#include "engine/tool_text.h"
#include "protocol/json_parse.h"
#include "protocol/json_text.h"

namespace llorch {

namespace json = boost::json;

namespace {

constexpr std::size_t calls_max = 8;                // of one answer; a model that loops still ends
constexpr std::uint64_t bounded_tokens_max = 1000;  // llama.cpp takes repetitions up to 2000
constexpr std::uint64_t characters_per_token = 2;   // a bound, not a guess: prose has about 4
constexpr std::uint64_t string_characters_min = 16;

// What json_schema_to_grammar writes for blanks between JSON's marks and for a string without
// bounds. A weak model walks either for ever.
constexpr std::string_view any_space = R"(space ::= | " " | "\n"{1,2} [ \t]{0,20})";
constexpr std::string_view any_string = R"(string ::= "\"" char* "\"")";

void replace_line(std::string& gbnf, std::string_view line, std::string_view by) {
  const auto at = gbnf.find("\n" + std::string(line) + "\n");
  if (at != gbnf.npos) {
    gbnf.replace(at + 1, line.size(), by);
  } else if (gbnf.starts_with(std::string(line) + "\n")) {
    gbnf.replace(0, line.size(), by);
  }
}

Result<std::string> arguments_schema(const ToolSpec& tool) {
  auto schema = parse_json_object(tool.parameters_json);
  if (!schema) return fail(schema.error());
  if (schema->empty()) (*schema)["properties"] = json::object();
  const bool typed = std::ranges::any_of(
      std::initializer_list<const char*>{"type", "$ref", "anyOf", "oneOf", "allOf"},
      [&](const char* name) { return schema->contains(name); });
  if (!typed) (*schema)["type"] = "object";
  if (const auto* const type = schema->if_contains("type"); type != nullptr && *type != "object") {
    return fail(Code::invalid_request, "must be of type object");
  }
  return json::serialize(*schema);
}

Result<std::string> arguments_grammar(const ToolSpec& tool, std::size_t index,
                                      std::optional<std::uint64_t> max_tokens) {
  const auto refuse = [&](const Error& error) {
    const auto field = fmt::format("tools[{}].function.parameters", index);
    return fail_field({.field = field,
                       .constraint = "JSON schema of an object",
                       .message = field + ": " + error.message});
  };
  const auto schema = arguments_schema(tool);
  if (!schema) return refuse(schema.error());
  auto spec = grammar_of_format({.kind = OutputFormat::Kind::json_schema, .source = *schema});
  if (!spec) return refuse(spec.error());
  replace_line(spec->gbnf, any_space, R"(space ::= " "?)");
  if (max_tokens && *max_tokens <= bounded_tokens_max) {
    const auto most = std::max(string_characters_min, *max_tokens * characters_per_token);
    replace_line(spec->gbnf, any_string, fmt::format(R"(string ::= "\"" char{{0,{}}} "\"")", most));
  }
  return with_rule_prefix(spec->gbnf, fmt::format("t{}-", index));
}

std::string literal(std::string_view text) {
  return gbnf_format_literal(std::string(text));
}

// "call": any one of the tools with its arguments.
Result<std::string> call_rules(const ChatPrompt& chat, std::optional<std::uint64_t> max_tokens) {
  const bool one = chat.tool_choice.kind == ToolChoice::Kind::function;
  std::string rules;
  std::string choices;
  for (std::size_t i = 0; i < chat.tools.size(); ++i) {
    const auto& tool = chat.tools[i];
    if (one && tool.name != chat.tool_choice.function) continue;
    const auto arguments = arguments_grammar(tool, i, max_tokens);
    if (!arguments) return arguments;
    rules += *arguments;
    std::string name;
    append_json_string(name, tool.name);
    if (!choices.empty()) choices += " | ";
    choices += fmt::format("{} t{}-root", literal(name + std::string(tool_call_arguments)), i);
  }
  return fmt::format("{}gap ::= [ \\n]?\ncall ::= {} gap {} ( {} ) \"}}\" gap {}\n", rules,
                     literal(tool_call_open), literal(tool_call_name), choices,
                     literal(tool_call_close));
}

}  // namespace

Result<GrammarSpec> tool_grammar(const ChatPrompt& chat, const OutputFormat& format,
                                 std::optional<std::uint64_t> max_tokens) {
  auto rules = call_rules(chat, max_tokens);
  if (!rules) return fail(rules.error());
  GrammarSpec spec{.gbnf = std::move(*rules), .field = "tools"};
  // Held to calls alone a small model repeats the first one until something stops it, so what is
  // required is one; a model that chose to call may go on.
  const bool several = chat.parallel_tool_calls && !requires_tools(chat);
  std::string root = "call";
  if (several) root += fmt::format(" ( gap call ){{0,{}}}", calls_max - 1);
  if (!requires_tools(chat) && format.kind != OutputFormat::Kind::text) {
    const auto answer = grammar_of_format(format);
    if (!answer) return fail(answer.error());
    spec.gbnf += with_rule_prefix(answer->gbnf, "answer-");
    root += " | answer-root";
  } else if (!requires_tools(chat)) {
    spec.lazy = true;
    spec.trigger_patterns.emplace_back(tool_call_open);  // no character of it is special
  }
  spec.gbnf += "root ::= " + root + "\n";
  return spec;
}

}  // namespace llorch
