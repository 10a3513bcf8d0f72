#include "engine/grammar.h"

#include <cmath>
#include <exception>
#include <json-schema-to-grammar.h>
#include <llama.h>

namespace llorch {
namespace {

constexpr const char* any_object_schema = R"({"type":"object"})";

std::vector<const char*> c_strings(const std::vector<std::string>& texts) {
  std::vector<const char*> pointers;
  for (const auto& text : texts) pointers.push_back(text.c_str());
  return pointers;
}

llama_sampler* make_sampler(const GrammarSpec& spec, const Vocabulary& vocabulary) {
  if (!spec.lazy) return llama_sampler_init_grammar(vocabulary.get(), spec.gbnf.c_str(), "root");
  auto patterns = c_strings(spec.trigger_patterns);
  return llama_sampler_init_grammar_lazy_patterns(
      vocabulary.get(), spec.gbnf.c_str(), "root", patterns.data(), patterns.size(),
      spec.trigger_tokens.data(), spec.trigger_tokens.size());
}

}  // namespace

Result<GrammarSpec> grammar_of_format(const OutputFormat& format) {
  if (format.kind == OutputFormat::Kind::text) return GrammarSpec{};
  if (format.kind == OutputFormat::Kind::grammar) return GrammarSpec{.gbnf = format.source};
  const bool any = format.kind == OutputFormat::Kind::json_object || format.source.empty();
  try {
    const auto schema = common_json::parse(any ? any_object_schema : format.source);
    return GrammarSpec{.gbnf = json_schema_to_grammar(schema)};
  } catch (const std::exception& thrown) {
    return fail(Code::invalid_request,
                std::string("the JSON schema has no grammar: ") + thrown.what());
  }
}

void Grammar::Free::operator()(llama_sampler* sampler) const {
  llama_sampler_free(sampler);
}

Result<Grammar> Grammar::compile(const GrammarSpec& spec, const Vocabulary& vocabulary) {
  try {
    Grammar grammar(make_sampler(spec, vocabulary));
    if (!grammar.sampler_) {
      return fail(Code::invalid_request, "the grammar does not parse as GBNF with a rule `root`");
    }
    if (!spec.lazy) {
      for (const auto token : spec.prefill) llama_sampler_accept(grammar.sampler_.get(), token);
    }
    return grammar;
  } catch (const std::exception& thrown) {
    return fail(Code::invalid_request, std::string("the grammar is refused: ") + thrown.what());
  }
}

bool Grammar::allows(Token token) {
  llama_token_data one{.id = token, .logit = 1, .p = 0};
  llama_token_data_array array{.data = &one, .size = 1, .selected = -1, .sorted = false};
  llama_sampler_apply(sampler_.get(), &array);
  return !std::isinf(one.logit);
}

void Grammar::mask(std::vector<Candidate>& row) {
  std::vector<llama_token_data> all;
  all.reserve(row.size());
  for (const auto& c : row) all.push_back({c.id, c.logit, 0});
  llama_token_data_array array{
      .data = all.data(), .size = all.size(), .selected = -1, .sorted = false};
  llama_sampler_apply(sampler_.get(), &array);
  for (std::size_t i = 0; i < row.size(); ++i) row[i].logit = all[i].logit;
}

bool Grammar::accept(Token token) {
  try {
    llama_sampler_accept(sampler_.get(), token);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace llorch
