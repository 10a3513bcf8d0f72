// Turns a conversation into a prompt with the model's own chat template, and the model's text back
// into content, reasoning and tool calls. Jinja and the parsers are llama.cpp's common library;
// a template runs under a time and memory budget.
// Threads: the prepare thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/chat_parser.h"
#include "engine/grammar.h"
#include "engine/protected_text.h"
#include "engine/vocabulary.h"
#include "prompt/render.h"

struct llama_model;

namespace llorch {

struct RenderedChat {
  std::vector<prompt::Segment> segments;
  GrammarSpec grammar;
  std::vector<std::string> stops;      // the template's own ends of an answer
  std::vector<Token> visible_control;  // control tokens the parser must see as text
  std::unique_ptr<ChatParser> parser;  // null: all text is content
};

class ChatFormat {
 public:
  // Probes the model's template once. Without a usable one the family of src/prompt that its
  // tokens point to is used. Lifetime: as the model's.
  ChatFormat(const llama_model* model, const Vocabulary& vocabulary);
  ~ChatFormat();

  // "gguf", or the family's name.
  const std::string& source() const { return source_; }
  // Why the model's own template is not used; empty when it is.
  const std::string& refusal() const { return refusal_; }

  // `call_seed` makes the ids of tool calls, so a resumed job makes the same ones.
  // Errors: invalid_request (the template refuses the conversation, or runs past its limits).
  Result<RenderedChat> render(const ChatPrompt& chat, const OutputFormat& format, bool parse,
                              std::uint64_t call_seed) const;

 private:
  struct Templates;
  Result<RenderedChat> render_family(const ChatPrompt& chat, const OutputFormat& format) const;

  const Vocabulary& vocabulary_;
  const ControlTexts controls_;
  std::unique_ptr<Templates> templates_;
  prompt::Family family_ = prompt::Family::raw;  // used without templates_
  std::string source_;
  std::string refusal_;
};

}  // namespace llorch
