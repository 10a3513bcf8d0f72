#include "engine/chat_format.h"

#include <array>
#include <chat.h>
#include <chrono>
#include <exception>
#include <jinja/runtime.h>
#include <llama.h>
#include <log.h>
#include <regex>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "base/random.h"
#include "engine/allocation_budget.h"
#include "engine/chat_inputs.h"
#include "engine/schema_patterns.h"
#include "engine/tool_text.h"
#include "protocol/utf8.h"

namespace llorch {
namespace {

constexpr const char* any_object = R"({"type":"object"})";

AllocationBudget template_budget() {
  return {limits::template_bytes_max, std::chrono::milliseconds{limits::template_ms_max}};
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

// An SPM tokenizer begins a text with a blank that the grammar has not: "▁<" for "<". The first
// token gives way to the one without, if there is one.
void drop_added_blank(std::vector<Token>& tokens, const std::string& text,
                      const Vocabulary& vocabulary) {
  if (tokens.empty() || text.starts_with(' ')) return;
  const auto& piece = vocabulary.piece(tokens.front(), true);
  if (!piece.starts_with(' ')) return;
  const auto wanted = piece.substr(1);
  for (Token token = 0; !wanted.empty() && token < vocabulary.size(); ++token) {
    if (vocabulary.piece(token, true) == wanted) {
      tokens.front() = token;
      return;
    }
  }
  tokens.erase(tokens.begin());
}

GrammarSpec grammar_spec(const common_chat_params& rendered, const Vocabulary& vocabulary) {
  GrammarSpec spec{.gbnf = rendered.grammar, .field = "tools", .lazy = rendered.grammar_lazy};
  for (const auto& trigger : rendered.grammar_triggers) add_trigger(spec, trigger, vocabulary);
  if (!rendered.generation_prompt.empty()) {
    auto tokens = vocabulary.tokenize(rendered.generation_prompt, true, false);
    if (tokens) spec.prefill = std::move(*tokens);
    drop_added_blank(spec.prefill, rendered.generation_prompt, vocabulary);
  }
  return spec;
}

// llama.cpp's common library logs the text of answers that do not parse; what matters of what it
// says comes back as an exception. And its interpreter asks before each statement if it may go on.
void prepare_library() {
  static const bool prepared = [] {
    common_log_set_verbosity_thold(-1);
#if defined(LLORCH_LLAMA_PATCHED)
    jinja::may_go_on = AllocationBudget::check;
#endif
    return true;
  }();
  static_cast<void>(prepared);
}

// The library builds the calls' grammar while it renders, so a tool may be what it dislikes.
std::unexpected<Error> refused_by_template(const std::string& why, bool tools) {
  if (tools && why.contains("JSON schema")) {
    return fail_field({.field = "tools", .constraint = "JSON schema", .message = "tools: " + why});
  }
  return fail_field(
      {.field = "messages",
       .constraint = "chat template",
       .message = "messages: the model's chat template refuses the conversation: " + why});
}

common_chat_params apply(const common_chat_templates* templates,
                         const common_chat_templates_inputs& inputs) {
  const auto budget = template_budget();
  auto rendered = common_chat_templates_apply(templates, inputs);
  AllocationBudget::check();  // the library goes on after some exceptions, with half a result
  return rendered;
}

std::string architecture_of(const llama_model* model) {
  std::array<char, 64> name{};
  llama_model_meta_val_str(model, "general.architecture", name.data(), name.size());
  return name.data();
}

common_chat_templates_inputs hello() {
  common_chat_templates_inputs inputs;
  inputs.messages.resize(1);
  inputs.messages.front().role = "user";
  inputs.messages.front().content = "Hello";
  return inputs;
}

// Tried out, not asked: some templates read `tools`, but llama.cpp finds no way to write a call.
bool makes_tool_calls(const common_chat_templates* templates) {
  constexpr const char* name = "probe_of_llorch";
  auto inputs = hello();
  inputs.tools.push_back({.name = name, .description = "Probe", .parameters = any_object});
  inputs.tool_choice = COMMON_CHAT_TOOL_CHOICE_REQUIRED;
  try {
    const auto rendered = apply(templates, inputs);
    return !rendered.grammar.empty() && rendered.prompt.contains(name);
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace

struct ChatFormat::Templates {
  common_chat_templates_ptr library;
};

ChatFormat::ChatFormat(const llama_model* model, const Vocabulary& vocabulary,
                       const std::string& jinja)
    : vocabulary_(vocabulary), controls_(vocabulary.control_texts()), source_("gguf") {
  prepare_library();
  const char* const own = llama_model_chat_template(model, nullptr);
  if (own == nullptr && jinja.empty()) {
    refusal_ = "the model file has none";
  } else if (own != nullptr && std::string_view(own).size() > limits::template_source_bytes_max) {
    refusal_ = "it is longer than any real template";
  } else {
    try {
      templates_ = std::make_unique<Templates>();
      {
        const auto budget = template_budget();
        templates_->library = common_chat_templates_init(model, jinja);
        AllocationBudget::check();
      }
      static_cast<void>(apply(templates_->library.get(), hello()));
      knows_tools_ = makes_tool_calls(templates_->library.get());
      return;
    } catch (const std::exception& thrown) {
      refusal_ = thrown.what();
    }
  }
  templates_.reset();
  // Its control tokens tell how the model was trained to be talked to, and a template that is
  // refused has the marks of its family all the same.
  std::string marks = (!jinja.empty() ? jinja : own != nullptr ? own : "") + std::string("\n");
  for (const auto& text : vocabulary.control_texts()) marks += text + "\n";
  family_ = prompt::family_from(marks, architecture_of(model)).value_or(prompt::Family::raw);
  source_ = prompt::family_name(family_);
  constexpr std::size_t shown_bytes_max = 400;  // what it says may quote all of a template
  log_event(LogLevel::warn, "engine", "chat_template_unused",
            {{"reason", utf8_beginning(refusal_, shown_bytes_max)}, {"family", source_}});
}

ChatFormat::~ChatFormat() = default;

Result<RenderedChat> ChatFormat::render(const ChatPrompt& chat,
                                        const RenderOptions& options) const {
  if (options.format.kind == OutputFormat::Kind::grammar && offers_tools(chat)) {
    return fail_field({.field = "grammar",
                       .constraint = "not with tools",
                       .message = "grammar: cannot be combined with tools"},
                      "leave out one of the two");
  }
  if (templates_ && knows_tools_) return render_template(chat, options);
  return render_with_tools_as_text(chat, options);
}

Result<RenderedChat> ChatFormat::render_with_tools_as_text(const ChatPrompt& chat,
                                                           const RenderOptions& options) const {
  const bool tools = offers_tools(chat);
  auto inner = options;
  if (tools) inner.format = {};  // the grammar of the calls sees to the format
  auto shown = tools_as_text(chat);
  if (tools && !templates_ && family_ == prompt::Family::raw) {
    // Of a model without any format only the last message is shown.
    auto& last = shown.messages.back().content;
    last = shown.messages.front().content + "\n\n" + last;
  }
  auto out = templates_ ? render_template(shown, inner) : render_family(shown, inner);
  if (!out || !tools) return out;
  auto grammar = tool_grammar(chat, options.format, options.max_tokens);
  if (!grammar) return fail(grammar.error());
  // A grammar from the first token on leaves no room to reason in.
  if (!grammar->lazy) out->parser = nullptr;
  if (options.parse) {
    out->parser = make_tool_text_parser(std::move(out->parser), options.call_seed);
  }
  out->grammar = std::move(*grammar);
  show_mark(tool_call_open, out->visible_control);
  show_mark(tool_call_close, out->visible_control);
  return out;
}

Result<RenderedChat> ChatFormat::render_family(const ChatPrompt& chat,
                                               const RenderOptions& options) const {
  std::vector<prompt::Message> messages;
  for (const auto& message : chat.messages) messages.push_back({message.role, message.content});
  auto segments = prompt::render(family_, messages);
  if (!segments) {
    auto error = segments.error();
    error.violations = {
        {.field = "messages", .constraint = "chat template", .message = error.message}};
    return fail(std::move(error));
  }
  auto spec = grammar_of_format(options.format);
  if (!spec) return fail(spec.error());
  RenderedChat out;
  out.segments = std::move(*segments);
  out.grammar = std::move(*spec);
  if (options.parse) out.parser = make_content_parser();
  return out;
}

void ChatFormat::show_mark(std::string_view text, std::vector<Token>& visible) const {
  const auto tokens = vocabulary_.tokenize(text, true, false);
  if (tokens && tokens->size() == 1) visible.push_back(tokens->front());
}

Result<RenderedChat> ChatFormat::render_template(const ChatPrompt& chat,
                                                 const RenderOptions& options) const {
  const auto& format = options.format;
  // With a parser the answer may reason first or fence its JSON, and still gives clean content;
  // without one the text itself must be what the format says.
  const bool strict = format.kind == OutputFormat::Kind::grammar || !options.parse;
  auto alone = grammar_of_format(format);
  if (!alone) return fail(alone.error());
  std::string schema;
  if (!strict && format.kind == OutputFormat::Kind::json_object) schema = any_object;
  if (!strict && format.kind == OutputFormat::Kind::json_schema) {
    schema = without_foreign_patterns(format.source).value_or(format.source);
  }
  ProtectedText guard(controls_, random_hex(16));
  auto inputs = to_library(chat, &guard);
  inputs.library.json_schema = schema;
  common_chat_params rendered;
  try {
    rendered = apply(templates_->library.get(), inputs.library);
    if (inputs.tools_protected) {
      // Marks are for the prompt only: a call must be spelled as the client spelled the tool.
      auto prompt = std::move(rendered.prompt);
      inputs = to_library(chat, nullptr);
      inputs.library.json_schema = schema;
      rendered = apply(templates_->library.get(), inputs.library);
      rendered.prompt = std::move(prompt);
    }
  } catch (const std::exception& thrown) {
    return refused_by_template(thrown.what(), !inputs.library.tools.empty());
  }
  RenderedChat out;
  out.segments = guard.split(rendered.prompt);
  out.grammar = grammar_spec(rendered, vocabulary_);
  if (format.kind != OutputFormat::Kind::text) {
    if (strict) out.grammar = *alone;
    if (!offers_tools(chat)) out.grammar.plain = alone->gbnf;
    out.grammar.field = alone->field;
  }
  out.stops = rendered.additional_stops;
  for (const auto& text : rendered.preserved_tokens) show_mark(text, out.visible_control);
  if (options.parse) {
    auto parser = make_chat_parser(rendered, !chat.tools.empty(), options.call_seed);
    if (!parser) return fail(parser.error());
    out.parser = std::move(*parser);
  }
  return out;
}

}  // namespace llorch
