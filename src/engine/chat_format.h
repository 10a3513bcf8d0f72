// Turns a conversation into a prompt with the model's own chat template, and makes the grammar and
// the parser of the answer. Jinja and the parsers are llama.cpp's common library; a template runs
// under a time and memory budget. Tools that the template does not know are told as text.
// Threads: the prepare thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
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
  std::unique_ptr<ChatParser> parser;  // null: the answer is not to be parsed
};

struct RenderOptions {
  OutputFormat format;
  bool parse = false;           // make a parser
  std::uint64_t call_seed = 0;  // makes the ids of tool calls: a resumed job makes the same ones
  std::optional<std::uint64_t> max_tokens = std::nullopt;
};

class ChatFormat {
 public:
  // Probes the model's template (or `jinja` in its place) once. Without a usable one the family of
  // src/prompt that its tokens point to is used, and the log says why. Lifetime: as the model's.
  ChatFormat(const llama_model* model, const Vocabulary& vocabulary, const std::string& jinja = {});
  ~ChatFormat();

  // "gguf", or the family's name.
  const std::string& source() const { return source_; }
  // Why the model's own template is not used; empty when it is.
  const std::string& refusal() const { return refusal_; }
  // Whether the template itself tells of tools, and llama.cpp knows how a call of it is written.
  bool knows_tools() const { return knows_tools_; }

  // Errors: invalid_request (the template refuses the conversation, or runs past its limits; a
  // schema or a grammar that cannot be followed).
  Result<RenderedChat> render(const ChatPrompt& chat, const RenderOptions& options) const;

 private:
  struct Templates;
  Result<RenderedChat> render_template(const ChatPrompt& chat, const RenderOptions& options) const;
  Result<RenderedChat> render_family(const ChatPrompt& chat, const RenderOptions& options) const;
  Result<RenderedChat> render_with_tools_as_text(const ChatPrompt& chat,
                                                 const RenderOptions& options) const;
  void show_mark(std::string_view text, std::vector<Token>& visible) const;

  const Vocabulary& vocabulary_;
  const ControlTexts controls_;
  std::unique_ptr<Templates> templates_;
  bool knows_tools_ = false;
  prompt::Family family_ = prompt::Family::raw;  // used without templates_
  std::string source_;
  std::string refusal_;
};

}  // namespace llorch
