#include <algorithm>
#include <array>
#include <boost/json/serialize.hpp>

#include "protocol/generation_fields.h"
#include "protocol/schema_size.h"
#include "protocol/utf8.h"

namespace llorch {

namespace json = boost::json;

namespace {

constexpr std::size_t name_bytes_max = 256;
constexpr std::size_t tools_bytes_max = 512 * limits::kib;  // schemas of all tools together
constexpr TextRange a_name{
    .bytes_min = 1, .bytes_max = name_bytes_max, .control_characters = false};
constexpr std::array<std::string_view, 5> roles = {"system", "developer", "user", "assistant",
                                                   "tool"};

std::string item_path(const FieldReader& fields, std::string_view list, std::size_t index) {
  return fields.path(list) + "[" + std::to_string(index) + "]";
}

// How one message is read: where its violations go, and whether unknown fields are among them.
struct Reading {
  Violations& violations;
  OtherFields others;

  // To be called when all that is known of an object has been asked for.
  void finish(FieldReader& fields) const {
    if (others == OtherFields::refused) fields.refuse_others();
  }
};

// Text parts joined by line breaks, as llama-server does; anything but text is refused by name.
// Source: llama.cpp common/chat.cpp, common_chat_msg::to_json_oaicompat.
std::string read_parts(FieldReader& message, const json::array& parts, const Reading& reading) {
  std::string text;
  const auto append = [&](const json::string& more) {
    if (!text.empty()) text += '\n';
    text += std_string(more);
  };
  for (std::size_t index = 0; const auto& part : parts) {
    const std::string path = item_path(message, "content", index++);
    if (part.is_string()) {
      append(part.get_string());
      continue;
    }
    const auto* const type = part.is_object() ? part.get_object().if_contains("type") : nullptr;
    const std::string kind =
        type != nullptr && type->is_string() ? std_string(type->get_string()) : std::string();
    const char* const name = kind == "refusal" ? "refusal" : "text";
    const auto* const value = part.is_object() ? part.get_object().if_contains(name) : nullptr;
    if ((kind == "text" || kind == "refusal") && value != nullptr && value->is_string()) {
      append(value->get_string());
      FieldReader fields(part.get_object(), reading.violations, path + ".");
      static_cast<void>(fields.has("type") && fields.has(name));
      reading.finish(fields);
    } else if (kind.starts_with("image") || kind == "input_audio" || kind == "file") {
      constexpr std::size_t shown_bytes_max = 32;
      message.add("content", "text parts",
                  "has a part of type " + std::string(utf8_beginning(kind, shown_bytes_max)) +
                      "; this model takes text only");
      break;
    } else {
      message.add("content", "text parts",
                  "must be a string or parts {\"type\":\"text\",\"text\"}");
      break;
    }
  }
  return text;
}

std::string read_content(FieldReader& message, bool may_be_null, const Reading& reading) {
  const auto* const content = message.any("content");
  if (content == nullptr) {
    if (!may_be_null) message.add("content", "required", "is required");
    return {};
  }
  if (content->is_string()) return std_string(content->get_string());
  if (content->is_array()) return read_parts(message, content->get_array(), reading);
  message.add("content", "string or parts", "must be a string or an array of text parts");
  return {};
}

std::vector<ToolCall> read_tool_calls(FieldReader& message, const Reading& reading) {
  Violations& violations = reading.violations;
  const auto* const list = message.array("tool_calls", limits::tools_max);
  std::vector<ToolCall> calls;
  if (list == nullptr) return calls;
  for (const auto& entry : *list) {
    const std::string path = item_path(message, "tool_calls", calls.size());
    auto& call = calls.emplace_back();
    if (!entry.is_object()) {
      violations.add(path, "object", path + " must be an object");
      continue;
    }
    FieldReader fields(entry.get_object(), violations, path + ".");
    call.id = fields.text("id", body_text).value_or("");
    static_cast<void>(fields.has("type"));  // it has one value
    const auto* const function = fields.object("function");
    if (function == nullptr) {
      fields.add("function", "required", "is required");
      continue;
    }
    FieldReader inner(*function, violations, path + ".function.");
    call.name = inner.text("name", a_name).value_or("");
    if (!inner.has("name")) inner.add("name", "required", "is required");
    // The API has text here; some clients send the object itself.
    const auto* const arguments = inner.any("arguments");
    if (arguments != nullptr && arguments->is_object()) {
      call.arguments_json = json::serialize(*arguments);
    } else {
      call.arguments_json = inner.text("arguments", body_text).value_or("{}");
    }
    reading.finish(inner);
    reading.finish(fields);
  }
  return calls;
}

ChatMessage read_message(FieldReader& fields, const Reading& reading) {
  ChatMessage message;
  message.role = fields.text("role", body_text).value_or("");
  if (std::ranges::find(roles, message.role) == roles.end()) {
    fields.add("role", "system, developer, user, assistant or tool",
               "must be system, developer, user, assistant or tool");
  }
  message.tool_calls = read_tool_calls(fields, reading);
  if (!message.tool_calls.empty() && message.role != "assistant") {
    fields.add("tool_calls", "assistant only", "belongs to the role assistant");
  }
  message.reasoning_content = fields.text("reasoning_content", body_text).value_or("");
  const bool reasons = message.role == "assistant" && !message.reasoning_content.empty();
  message.content = read_content(fields, !message.tool_calls.empty() || reasons, reading);
  message.tool_call_id = fields.text("tool_call_id", body_text).value_or("");
  message.name = fields.text("name", body_text).value_or("");
  reading.finish(fields);
  return message;
}

ToolSpec read_tool(const json::value& entry, const std::string& path, Violations& violations) {
  ToolSpec tool{.name = {}, .description = {}, .parameters_json = "{}"};
  if (!entry.is_object()) {
    violations.add(path, "object", path + " must be an object");
    return tool;
  }
  FieldReader fields(entry.get_object(), violations, path + ".");
  if (const auto type = fields.text("type", body_text); type && *type != "function") {
    fields.add("type", "function", "must be function");
    return tool;
  }
  const auto* const function = fields.object("function");
  if (function == nullptr) {
    fields.add("function", "required", "is required");
    return tool;
  }
  FieldReader inner(*function, violations, path + ".function.");
  if (!inner.has("name")) inner.add("name", "required", "is required");
  tool.name = inner.text("name", a_name).value_or("");
  tool.description = inner.text("description", body_text).value_or("");
  if (const auto* const schema = inner.object("parameters")) {
    tool.parameters_json = json::serialize(*schema);
    if (has_too_many_properties(*function->if_contains("parameters"))) {
      inner.add("parameters", "<= 256 properties", "has an object of more than 256 properties");
    }
  }
  return tool;
}

void read_tools(FieldReader& fields, Violations& violations, ChatPrompt& chat) {
  const auto* const list = fields.array("tools", limits::tools_max);
  if (list == nullptr) return;
  std::size_t bytes = 0;
  for (const auto& entry : *list) {
    chat.tools.push_back(
        read_tool(entry, item_path(fields, "tools", chat.tools.size()), violations));
    bytes += chat.tools.back().parameters_json.size();
  }
  if (bytes > tools_bytes_max) {
    fields.add("tools", "<= 524288 bytes", "have schemas of more than 524288 bytes");
  }
}

void read_tool_choice(FieldReader& fields, ChatPrompt& chat) {
  const auto* const choice = fields.any("tool_choice");
  if (choice == nullptr) return;
  using Kind = ToolChoice::Kind;
  const auto refuse = [&](const char* message) {
    fields.add("tool_choice", "none, auto, required or a function of tools", message);
  };
  if (choice->is_string()) {
    const std::string word = std_string(choice->get_string());
    if (word == "auto") return;
    if (word != "none" && word != "required") return refuse("must be none, auto or required");
    chat.tool_choice.kind = word == "none" ? Kind::none : Kind::required;
    if (word == "required" && chat.tools.empty()) refuse("needs tools to choose from");
    return;
  }
  const auto* const function =
      choice->is_object() ? choice->get_object().if_contains("function") : nullptr;
  const auto* const name = function != nullptr && function->is_object()
                               ? function->get_object().if_contains("name")
                               : nullptr;
  if (name == nullptr || !name->is_string()) {
    return refuse("must be a word or {\"type\":\"function\",\"function\":{\"name\"}}");
  }
  chat.tool_choice = {.kind = Kind::function, .function = std_string(name->get_string())};
  if (std::ranges::find(chat.tools, chat.tool_choice.function, &ToolSpec::name) ==
      chat.tools.end()) {
    refuse("names a function that tools does not have");
  }
}

// What a client may set of a template; the rest is ours (a prompt that ends elsewhere, other
// roles) and would break the reply's parser.
struct TemplateSwitch {
  std::string_view name;
  bool boolean;  // else a word
};
constexpr std::array<TemplateSwitch, 3> template_switches = {
    TemplateSwitch{"enable_thinking", true}, TemplateSwitch{"thinking", true},
    TemplateSwitch{"reasoning_effort", false}};

bool fits(const TemplateSwitch& known, const json::value& value) {
  constexpr std::size_t word_bytes_max = 32;
  if (known.boolean) return value.is_bool();
  return value.is_string() && value.get_string().size() <= word_bytes_max;
}

void read_template_kwargs(FieldReader& fields, ChatPrompt& chat) {
  const auto effort = fields.text("reasoning_effort", {.bytes_min = 1, .bytes_max = 32});
  if (effort) chat.template_kwargs_json["reasoning_effort"] = json::serialize(json::value(*effort));
  const auto* const given = fields.object("chat_template_kwargs");
  if (given == nullptr) return;
  for (const auto& entry : *given) {
    const std::string_view name(entry.key().data(), entry.key().size());
    const auto known = std::ranges::find(template_switches, name, &TemplateSwitch::name);
    if (known == template_switches.end() || !fits(*known, entry.value())) {
      fields.add(
          "chat_template_kwargs", "enable_thinking, thinking or reasoning_effort",
          "takes enable_thinking and thinking (true or false) and reasoning_effort (a word)");
      return;
    }
    chat.template_kwargs_json[std::string(name)] = json::serialize(entry.value());
  }
}

}  // namespace

std::vector<ChatMessage> read_messages(FieldReader& fields, Violations& violations,
                                       OtherFields others) {
  const Reading reading{violations, others};
  const auto* const list = fields.array("messages", limits::messages_max);
  std::vector<ChatMessage> messages;
  if (list == nullptr) return messages;
  if (list->empty()) fields.add("messages", ">= 1 items", "must have at least one message");
  for (const auto& entry : *list) {
    const std::string path = item_path(fields, "messages", messages.size());
    if (!entry.is_object()) {
      violations.add(path, "object", path + " must be an object");
      messages.emplace_back();
      continue;
    }
    FieldReader inner(entry.get_object(), violations, path + ".");
    messages.push_back(read_message(inner, reading));
  }
  return messages;
}

void read_chat_options(FieldReader& fields, Violations& violations, ChatPrompt& chat) {
  read_tools(fields, violations, chat);
  read_tool_choice(fields, chat);
  chat.parallel_tool_calls = fields.boolean("parallel_tool_calls").value_or(true);
  read_template_kwargs(fields, chat);
}

}  // namespace llorch
