#include "engine/vocabulary.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <llama.h>

namespace llorch {
namespace {

std::string piece_of(const llama_vocab* vocab, Token token, bool special) {
  std::string text(32, '\0');
  for (int attempt = 0; attempt < 2; ++attempt) {
    const auto size = llama_token_to_piece(vocab, token, text.data(),
                                           static_cast<std::int32_t>(text.size()), 0, special);
    text.resize(static_cast<std::size_t>(std::abs(size)));
    if (size >= 0) break;
  }
  return text;
}

std::uint64_t fnv1a(std::uint64_t hash, std::string_view bytes) {
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return (hash ^ 0xff) * 0x100000001b3;  // so that "ab","c" and "a","bc" differ
}

}  // namespace

Vocabulary::Vocabulary(const llama_vocab* vocab) : vocab_(vocab) {
  const auto count = static_cast<std::size_t>(llama_vocab_n_tokens(vocab));
  pieces_.resize(count);
  special_pieces_.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto token = static_cast<Token>(i);
    pieces_[i] = piece_of(vocab, token, false);
    if (!llama_vocab_is_control(vocab, token)) continue;
    special_pieces_[i] = piece_of(vocab, token, true);
    if (special_pieces_[i].size() > 1) control_texts_.push_back(special_pieces_[i]);
  }
  std::sort(control_texts_.begin(), control_texts_.end(),
            [](const auto& a, const auto& b) { return a.size() > b.size(); });
  // llama.h tells nothing of the file's add_space_prefix and its defaults: see what it does.
  const auto probe = tokenize("a", false, false);
  prefixes_space_ = probe && !probe->empty() && piece(probe->front(), true).starts_with(' ');
}

Result<std::vector<Token>> Vocabulary::tokenize(std::string_view text, bool special,
                                                bool add_bos) const {
  if (text.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    return fail(Code::too_large, "the text is too long to tokenise");
  }
  std::vector<Token> tokens(text.size() + 2);
  const auto count =
      llama_tokenize(vocab_, text.data(), static_cast<std::int32_t>(text.size()), tokens.data(),
                     static_cast<std::int32_t>(tokens.size()), add_bos, special);
  if (count < 0) return fail(Code::internal, "the tokenizer gave more tokens than bytes");
  tokens.resize(static_cast<std::size_t>(count));
  return tokens;
}

const std::string& Vocabulary::piece(Token token, bool special) const {
  const auto i = static_cast<std::size_t>(token);
  return special && !special_pieces_[i].empty() ? special_pieces_[i] : pieces_[i];
}

std::string Vocabulary::text_of(std::span<const Token> tokens) const {
  std::string text;
  bool prefixed = prefixes_space_;
  for (const Token token : tokens) {
    const bool control = !special_pieces_[static_cast<std::size_t>(token)].empty();
    std::string_view part = piece(token, true);
    if (prefixed && !control && part.starts_with(' ')) part.remove_prefix(1);
    text += part;
    prefixed = prefixes_space_ && control;  // what follows a control token is tokenised as a text
  }
  return text;
}

bool Vocabulary::ends_generation(Token token) const {
  return llama_vocab_is_eog(vocab_, token);
}

std::vector<Token> Vocabulary::generation_ends() const {
  std::vector<Token> ends;
  for (Token token = 0; token < size(); ++token) {
    if (ends_generation(token)) ends.push_back(token);
  }
  return ends;
}

std::string Vocabulary::hash() const {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (std::size_t i = 0; i < pieces_.size(); ++i) {
    hash = fnv1a(hash, special_pieces_[i].empty() ? pieces_[i] : special_pieces_[i]);
  }
  hash = fnv1a(hash, fmt::format("{} {} {}", llama_vocab_bos(vocab_), llama_vocab_eos(vocab_),
                                 llama_vocab_get_add_bos(vocab_)));
  return fmt::format("{:016x}", hash);
}

bool Vocabulary::adds_bos() const {
  return llama_vocab_get_add_bos(vocab_);
}

std::string Vocabulary::bos_text() const {
  const auto token = llama_vocab_bos(vocab_);
  return token == LLAMA_TOKEN_NULL ? std::string{} : piece(token, true);
}

}  // namespace llorch
