// The model's tokenizer: text to token ids and back. Threads: any (llama.h: the tokenizer is
// thread-safe). Lifetime: as the model it was made from.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "protocol/job.h"

struct llama_vocab;

namespace llorch {

class Vocabulary {
 public:
  explicit Vocabulary(const llama_vocab* vocab);

  // `special`: control tokens written in the text are recognised. Errors: too_large.
  // Source: llama.h llama_tokenize.
  Result<std::vector<Token>> tokenize(std::string_view text, bool special, bool add_bos) const;
  // The bytes of a token, may be part of a character; control tokens are empty unless `special`.
  const std::string& piece(Token token, bool special) const;
  // The text that tokenize() made these of, control tokens written out. Shape: each contains()ed.
  std::string text_of(std::span<const Token> tokens) const;

  bool contains(Token token) const { return token >= 0 && token < size(); }
  bool ends_generation(Token token) const;
  std::int32_t size() const { return static_cast<std::int32_t>(pieces_.size()); }
  std::vector<Token> generation_ends() const;
  // Texts of the control tokens, longest first: what a user must not be able to type.
  const std::vector<std::string>& control_texts() const { return control_texts_; }
  // 16 hex digits over every piece and the special ids: equal means the same token ids.
  std::string hash() const;
  const llama_vocab* get() const { return vocab_; }
  bool adds_bos() const;
  std::string bos_text() const;

 private:
  const llama_vocab* vocab_;
  std::vector<std::string> pieces_;          // control tokens empty
  std::vector<std::string> special_pieces_;  // only of control tokens
  std::vector<std::string> control_texts_;
  bool prefixes_space_ = false;  // tokenize() puts a space before a text (Llama 2, Phi-3)
};

}  // namespace llorch
