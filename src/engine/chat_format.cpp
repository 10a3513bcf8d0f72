#include "engine/chat_format.h"

#include <chat.h>
#include <chrono>
#include <exception>
#include <llama.h>
#include <log.h>
#include <regex>
#include <utility>

#include "base/limits.h"
#include "base/random.h"
#include "engine/allocation_budget.h"
#include "engine/chat_inputs.h"

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

GrammarSpec grammar_spec(const common_chat_params& rendered, const Vocabulary& vocabulary) {
  GrammarSpec spec{.gbnf = rendered.grammar, .field = "tools", .lazy = rendered.grammar_lazy};
  for (const auto& trigger : rendered.grammar_triggers) add_trigger(spec, trigger, vocabulary);
  if (!rendered.generation_prompt.empty()) {
    auto tokens = vocabulary.tokenize(rendered.generation_prompt, true, false);
    if (tokens) spec.prefill = std::move(*tokens);
  }
  return spec;
}

// llama.cpp's common library logs the text of answers that do not parse. What matters of what it
// says comes back as an exception.
void silence_library() {
  static const bool silent = [] {
    common_log_set_verbosity_thold(-1);
    return true;
  }();
  static_cast<void>(silent);
}

}  // namespace

struct ChatFormat::Templates {
  common_chat_templates_ptr library;
};

ChatFormat::ChatFormat(const llama_model* model, const Vocabulary& vocabulary)
    : vocabulary_(vocabulary), controls_(vocabulary.control_texts()), source_("gguf") {
  silence_library();
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
  // With a parser the answer may reason first or fence its JSON, and still gives clean content;
  // without one the text itself must be what the format says.
  const bool strict = format.kind == OutputFormat::Kind::grammar || !parse;
  std::string schema;
  if (!strict && format.kind == OutputFormat::Kind::json_schema) schema = format.source;
  if (!strict && format.kind == OutputFormat::Kind::json_object) schema = any_object;
  const auto apply = [&](ChatInputs& inputs) {
    inputs.library.json_schema = schema;
    const auto budget = template_budget();
    return common_chat_templates_apply(templates_->library.get(), inputs.library);
  };
  ProtectedText guard(controls_, random_hex(16));
  auto inputs = to_library(chat, &guard);
  common_chat_params rendered;
  try {
    rendered = apply(inputs);
    if (inputs.tools_protected) {
      // Marks are for the prompt only: a call must be spelled as the client spelled the tool.
      auto prompt = std::move(rendered.prompt);
      inputs = to_library(chat, nullptr);
      rendered = apply(inputs);
      rendered.prompt = std::move(prompt);
    }
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
