#include "engine/chat_inputs.h"

#include <utility>

#include "engine/schema_patterns.h"

namespace llorch {
namespace {

class Texts {
 public:
  explicit Texts(ProtectedText* guard) : guard_(guard) {}
  std::string plain(const std::string& text) const { return guard_ ? guard_->protect(text) : text; }
  std::string json(const std::string& text) const {
    return guard_ ? guard_->protect_json(text) : text;
  }
  std::size_t replaced() const { return guard_ ? guard_->replaced() : 0; }

 private:
  ProtectedText* guard_;
};

common_chat_msg to_library(const ChatMessage& message, const Texts& texts) {
  common_chat_msg made;
  made.role = message.role == "developer" ? "system" : message.role;
  made.content = texts.plain(message.content);
  made.reasoning_content = texts.plain(message.reasoning_content);
  made.tool_call_id = texts.plain(message.tool_call_id);
  made.tool_name = texts.plain(message.name);
  for (const auto& call : message.tool_calls) {
    made.tool_calls.push_back({.name = texts.plain(call.name),
                               .arguments = texts.json(call.arguments_json),
                               .id = texts.plain(call.id)});
  }
  return made;
}

common_chat_tool_choice to_library(ToolChoice::Kind kind) {
  switch (kind) {
    case ToolChoice::Kind::automatic:
      return COMMON_CHAT_TOOL_CHOICE_AUTO;
    case ToolChoice::Kind::none:
      return COMMON_CHAT_TOOL_CHOICE_NONE;
    case ToolChoice::Kind::required:
    case ToolChoice::Kind::function:
      return COMMON_CHAT_TOOL_CHOICE_REQUIRED;
  }
  std::unreachable();
}

}  // namespace

ChatInputs to_library(const ChatPrompt& chat, ProtectedText* guard) {
  const Texts texts(guard);
  ChatInputs made;
  auto& inputs = made.library;
  for (const auto& message : chat.messages) inputs.messages.push_back(to_library(message, texts));
  const auto before = texts.replaced();
  const bool one = chat.tool_choice.kind == ToolChoice::Kind::function;
  for (const auto& tool : chat.tools) {
    if (one && chat.tool_choice.function != tool.name) continue;
    const auto schema = without_foreign_patterns(tool.parameters_json);
    inputs.tools.push_back({texts.plain(tool.name), texts.plain(tool.description),
                            texts.json(schema.value_or(tool.parameters_json))});
  }
  made.tools_protected = texts.replaced() > before;
  inputs.tool_choice = to_library(chat.tool_choice.kind);
  inputs.parallel_tool_calls = chat.parallel_tool_calls && !inputs.tools.empty() && !one;
  inputs.reasoning_format = COMMON_REASONING_FORMAT_AUTO;
  for (const auto& [name, value] : chat.template_kwargs_json) {
    inputs.chat_template_kwargs[name] = value;
    if (name == "enable_thinking") inputs.enable_thinking = value != "false";
  }
  return made;
}

}  // namespace llorch
