#include "engine/chat_format.h"

#include <chat.h>
#include <chrono>
#include <exception>
#include <llama.h>
#include <regex>
#include <utility>

#include "base/limits.h"
#include "base/random.h"
#include "engine/allocation_budget.h"
#include "engine/chat_parser.h"
#include "engine/protected_text.h"

namespace llorch {
namespace {

constexpr const char* any_object = R"({"type":"object"})";

AllocationBudget template_budget() {
  return {limits::template_bytes_max, std::chrono::milliseconds{limits::template_ms_max}};
}

common_chat_msg to_library(const ChatMessage& message, ProtectedText& guard) {
  common_chat_msg made;
  made.role = message.role == "developer" ? "system" : message.role;
  made.content = guard.protect(message.content);
  made.reasoning_content = guard.protect(message.reasoning_content);
  made.tool_call_id = message.tool_call_id;
  made.tool_name = message.name;
  for (const auto& call : message.tool_calls) {
    made.tool_calls.push_back({.name = call.name, .arguments = call.arguments_json, .id = call.id});
  }
  return made;
}

common_chat_templates_inputs to_library(const ChatPrompt& chat, ProtectedText& guard) {
  common_chat_templates_inputs inputs;
  for (const auto& message : chat.messages) inputs.messages.push_back(to_library(message, guard));
  for (const auto& tool : chat.tools) {
    const bool wanted = chat.tool_choice.kind != ToolChoice::Kind::function ||
                        chat.tool_choice.function == tool.name;
    if (wanted) inputs.tools.push_back({tool.name, tool.description, tool.parameters_json});
  }
  switch (chat.tool_choice.kind) {
    case ToolChoice::Kind::automatic:
      inputs.tool_choice = COMMON_CHAT_TOOL_CHOICE_AUTO;
      break;
    case ToolChoice::Kind::none:
      inputs.tool_choice = COMMON_CHAT_TOOL_CHOICE_NONE;
      break;
    case ToolChoice::Kind::required:
    case ToolChoice::Kind::function:
      inputs.tool_choice = COMMON_CHAT_TOOL_CHOICE_REQUIRED;
      break;
  }
  inputs.parallel_tool_calls = chat.parallel_tool_calls && !inputs.tools.empty() &&
                               chat.tool_choice.kind != ToolChoice::Kind::function;
  inputs.reasoning_format = COMMON_REASONING_FORMAT_AUTO;
  for (const auto& [name, value] : chat.template_kwargs_json) {
    inputs.chat_template_kwargs[name] = value;
    if (name == "enable_thinking") inputs.enable_thinking = value != "false";
  }
  return inputs;
}

std::string escape_pattern(const std::string& text) {
  static const std::regex special(R"([.^$|()*+?\[\]{}\\])");
  return std::regex_replace(text, special, R"(\$&)");
}

// The conventions of llama.cpp's common library for triggers. Source: common/sampling.cpp.
void add_trigger(GrammarSpec& spec, const common_grammar_trigger& trigger,
                 const Vocabulary& vocabulary) {
  switch (trigger.type) {
    case COMMON_GRAMMAR_TRIGGER_TYPE_TOKEN:
      spec.trigger_tokens.push_back(trigger.token);
      return;
    case COMMON_GRAMMAR_TRIGGER_TYPE_WORD: {
      const auto tokens = vocabulary.tokenize(trigger.value, true, false);
      if (tokens && tokens->size() == 1) {
        spec.trigger_tokens.push_back(tokens->front());
      } else {
        spec.trigger_patterns.push_back(escape_pattern(trigger.value));
      }
      return;
    }
    case COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN:
      spec.trigger_patterns.push_back(trigger.value);
      return;
    case COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN_FULL:
      spec.trigger_patterns.push_back("^" + trigger.value + "$");
      return;
  }
}

GrammarSpec grammar_spec(const common_chat_params& rendered, const Vocabulary& vocabulary) {
  GrammarSpec spec{.gbnf = rendered.grammar, .field = "tools", .lazy = rendered.grammar_lazy};
  for (const auto& trigger : rendered.grammar_triggers) add_trigger(spec, trigger, vocabulary);
  if (!rendered.generation_prompt.empty()) {
    auto tokens = vocabulary.tokenize(rendered.generation_prompt, true, false);
    if (tokens) spec.prefill = std::move(*tokens);
  }
  return spec;
}

}  // namespace

struct ChatFormat::Templates {
  common_chat_templates_ptr library;
};

ChatFormat::ChatFormat(const llama_model* model, const Vocabulary& vocabulary)
    : vocabulary_(vocabulary), source_("gguf") {
  const char* const jinja = llama_model_chat_template(model, nullptr);
  if (jinja == nullptr) {
    refusal_ = "the model file has none";
  } else if (std::string_view(jinja).size() > limits::template_source_bytes_max) {
    refusal_ = "it is longer than any real template";
  } else {
    try {
      const auto budget = template_budget();
      templates_ = std::make_unique<Templates>(common_chat_templates_init(model, ""));
      common_chat_templates_inputs probe;
      probe.messages.resize(1);
      probe.messages.front().role = "user";
      probe.messages.front().content = "Hello";
      static_cast<void>(common_chat_templates_apply(templates_->library.get(), probe));
      return;
    } catch (const std::exception& thrown) {
      refusal_ = thrown.what();
    }
  }
  templates_.reset();
  // Its control tokens tell how the model was trained to be talked to.
  std::string marks;
  for (const auto& text : vocabulary.control_texts()) marks += text + "\n";
  family_ = prompt::family_from(marks, "").value_or(prompt::Family::raw);
  source_ = prompt::family_name(family_);
}

ChatFormat::~ChatFormat() = default;

Result<RenderedChat> ChatFormat::render_family(const ChatPrompt& chat,
                                               const OutputFormat& format) const {
  if (!chat.tools.empty()) {
    return fail(Code::invalid_request, "tools: this model has no chat template that knows tools",
                "leave them out, or serve a model whose file has such a template");
  }
  std::vector<prompt::Message> messages;
  for (const auto& message : chat.messages) messages.push_back({message.role, message.content});
  auto segments = prompt::render(family_, messages);
  if (!segments) return fail(segments.error());
  auto spec = grammar_of_format(format);
  if (!spec) return fail(spec.error());
  RenderedChat out;
  out.segments = std::move(*segments);
  out.grammar = std::move(*spec);
  return out;
}

Result<RenderedChat> ChatFormat::render(const ChatPrompt& chat, const OutputFormat& format,
                                        bool parse, std::uint64_t call_seed) const {
  if (!templates_) return render_family(chat, format);
  if (format.kind == OutputFormat::Kind::grammar && !chat.tools.empty()) {
    return fail(Code::invalid_request, "a grammar cannot be combined with tools",
                "leave out one of the two");
  }
  ProtectedText guard(vocabulary_.control_texts(), random_hex(8));
  common_chat_params rendered;
  // With a parser the answer may reason first or fence its JSON, and still gives clean content;
  // without one the text itself must be what the format says.
  const bool strict = format.kind == OutputFormat::Kind::grammar || !parse;
  auto inputs = to_library(chat, guard);
  if (!strict && format.kind == OutputFormat::Kind::json_schema) inputs.json_schema = format.source;
  if (!strict && format.kind == OutputFormat::Kind::json_object) inputs.json_schema = any_object;
  try {
    const auto budget = template_budget();
    rendered = common_chat_templates_apply(templates_->library.get(), inputs);
  } catch (const std::exception& thrown) {
    return fail(Code::invalid_request,
                std::string("the model's chat template refuses these messages: ") + thrown.what());
  }
  RenderedChat out;
  out.segments = guard.split(rendered.prompt);
  out.grammar = grammar_spec(rendered, vocabulary_);
  if (strict && format.kind != OutputFormat::Kind::text) {
    auto spec = grammar_of_format(format);
    if (!spec) return fail(spec.error());
    out.grammar = std::move(*spec);
  }
  if (format.kind != OutputFormat::Kind::text && !strict) {
    auto alone = grammar_of_format(format);
    if (!alone) return fail(alone.error());
    out.grammar.field = alone->field;
    if (chat.tools.empty()) out.grammar.plain = std::move(alone->gbnf);
  }
  out.stops = rendered.additional_stops;
  for (const auto& text : rendered.preserved_tokens) {
    const auto tokens = vocabulary_.tokenize(text, true, false);
    if (tokens && tokens->size() == 1) out.visible_control.push_back(tokens->front());
  }
  if (parse) {
    auto parser = make_chat_parser(rendered, !chat.tools.empty(), call_seed);
    if (!parser) return fail(parser.error());
    out.parser = std::move(*parser);
  }
  return out;
}

}  // namespace llorch
