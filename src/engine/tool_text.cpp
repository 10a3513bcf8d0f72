#include "engine/tool_text.h"

#include <algorithm>
#include <fmt/format.h>

#include "protocol/json_text.h"

namespace llorch {
namespace {

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

std::string shown_call(std::string_view name, std::string_view arguments_json) {
  return fmt::format("{}\n{}{}{}{}}}\n{}", tool_call_open, tool_call_name, json_string(name),
                     tool_call_arguments, arguments_json, tool_call_close);
}

std::string instructions(const ChatPrompt& chat) {
  std::string text = "You have these functions:\n<tools>\n";
  const bool one = chat.tool_choice.kind == ToolChoice::Kind::function;
  for (const auto& tool : chat.tools) {
    if (one && tool.name != chat.tool_choice.function) continue;
    JsonObjectWriter row(text);
    row.string("type", "function");
    JsonObjectWriter(row.key("function"))
        .string("name", tool.name)
        .string("description", tool.description)
        .raw("parameters", tool.parameters_json)
        .end();
    row.end();
    text += '\n';
  }
  text += "</tools>\nTo call a function, write its name and its arguments like this:\n";
  text += shown_call("function-name", R"({"argument": "value"})");
  if (requires_tools(chat)) {
    text += "\nAnswer with a function call and nothing else.";
  } else {
    text += "\nCall a function only if it helps to answer; otherwise answer in plain text.";
  }
  return text;
}

bool is_system(const ChatMessage& message) {
  return message.role == "system" || message.role == "developer";
}

// Gives the name that a call had to the result of it.
std::string_view called_name(const std::vector<ChatMessage>& messages, const ChatMessage& result) {
  if (!result.name.empty()) return result.name;
  for (const auto& message : messages) {
    for (const auto& call : message.tool_calls) {
      if (call.id == result.tool_call_id) return call.name;
    }
  }
  return {};
}

std::string shown_result(const std::vector<ChatMessage>& messages, const ChatMessage& result) {
  const auto name = called_name(messages, result);
  return fmt::format("<tool_response>\n{}{}{}\n</tool_response>", name, name.empty() ? "" : ": ",
                     result.content);
}

void append_line(std::string& text, std::string_view more) {
  if (!text.empty() && !more.empty()) text += '\n';
  text += more;
}

}  // namespace

bool offers_tools(const ChatPrompt& chat) {
  return !chat.tools.empty() && chat.tool_choice.kind != ToolChoice::Kind::none;
}

bool requires_tools(const ChatPrompt& chat) {
  return offers_tools(chat) && chat.tool_choice.kind != ToolChoice::Kind::automatic;
}

ChatPrompt tools_as_text(const ChatPrompt& chat) {
  ChatPrompt made{.template_kwargs_json = chat.template_kwargs_json};
  bool after_result = false;
  for (const auto& message : chat.messages) {
    const bool result = message.role == "tool";
    auto shown = message;
    shown.tool_calls.clear();
    shown.tool_call_id.clear();
    if (result) {
      shown = {.role = "user", .content = shown_result(chat.messages, message)};
    }
    for (const auto& call : message.tool_calls) {
      append_line(shown.content, shown_call(call.name, call.arguments_json));
    }
    // Many templates want user and assistant in turn: what follows a result belongs to it.
    if (after_result && shown.role == "user") {
      append_line(made.messages.back().content, shown.content);
    } else {
      made.messages.push_back(std::move(shown));
    }
    after_result = result || (after_result && message.role == "user");
  }
  if (!offers_tools(chat)) return made;
  if (made.messages.empty() || !is_system(made.messages.front())) {
    made.messages.insert(made.messages.begin(), {.role = "system"});
  }
  auto& system = made.messages.front().content;
  if (!system.empty()) system += "\n\n";
  system += instructions(chat);
  return made;
}

}  // namespace llorch
