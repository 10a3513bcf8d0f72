// A grammar a job's tokens must follow: GBNF, a JSON schema, or what a chat template asks for tool
// calls. Wraps llama.cpp's grammar sampler. Threads: compiled on the prepare thread, then used on
// the engine thread only.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "engine/sampler.h"
#include "engine/vocabulary.h"

struct llama_sampler;
struct llama_token_data;

namespace llorch {

struct GrammarSpec {
  std::string gbnf;   // empty = no grammar
  std::string field;  // of the request it comes from: what a refusal names
  bool lazy = false;  // takes effect when a trigger appears in the text
  std::vector<std::string> trigger_patterns;
  std::vector<Token> trigger_tokens;
  std::vector<Token> prefill;  // already in the prompt: the grammar is past them
  std::string plain;           // obeyed instead, from the start, when the prefill does not fit
};

// The grammar of an output format by itself; empty for plain text.
// Errors: invalid_request (not JSON, or a schema that has no grammar).
Result<GrammarSpec> grammar_of_format(const OutputFormat& format);

class Grammar {
 public:
  // Errors: invalid_request with the line and the reason.
  static Result<Grammar> compile(const GrammarSpec& spec, const Vocabulary& vocabulary);

  bool allows(Token token);
  void mask(std::vector<Candidate>& row);
  // False when the token does not fit: only a resume can offer one that does not.
  bool accept(Token token);
  // True once the text has more readings than can be followed: what the others say is void then.
  bool overrun() const { return overrun_; }
  const std::string& field() const { return field_; }  // of the request it comes from

 private:
  struct Free {
    void operator()(llama_sampler* sampler) const;
  };
  Grammar(llama_sampler* sampler, std::string field)
      : sampler_(sampler), field_(std::move(field)) {}
  void apply(std::span<llama_token_data> candidates);

  std::unique_ptr<llama_sampler, Free> sampler_;
  std::string field_;
  bool overrun_ = false;
};

}  // namespace llorch
