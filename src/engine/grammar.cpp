#include "engine/grammar.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <json-schema-to-grammar.h>
#include <llama.h>
#include <stdexcept>

#include "engine/gbnf.h"
#include "engine/schema_patterns.h"

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
  if (format.kind == OutputFormat::Kind::grammar) {
    return GrammarSpec{.gbnf = format.source, .field = "grammar"};
  }
  const bool any = format.kind == OutputFormat::Kind::json_object || format.source.empty();
  const auto refuse = [](const std::string& why) {
    return fail_field({.field = "response_format",
                       .constraint = "JSON schema",
                       .message = "response_format: the JSON schema has no grammar: " + why});
  };
  const auto schema = without_foreign_patterns(any ? any_object_schema : format.source);
  if (!schema) return refuse(schema.error().message);
  try {
    return GrammarSpec{.gbnf = json_schema_to_grammar(common_json::parse(*schema)),
                       .field = "response_format"};
  } catch (const std::exception& thrown) {
    return refuse(thrown.what());
  }
}

void Grammar::Free::operator()(llama_sampler* sampler) const {
  llama_sampler_free(sampler);
}

Result<Grammar> Grammar::compile(const GrammarSpec& spec, const Vocabulary& vocabulary) {
  const auto refuse = [&](const std::string& why) {
    return fail_field({.field = spec.field, .constraint = "GBNF", .message = spec.field + why});
  };
  if (auto ok = check_gbnf(spec.gbnf, spec.field, vocabulary.get()); !ok) return fail(ok.error());
  try {
    Grammar grammar(make_sampler(spec, vocabulary), spec.field);
    if (!grammar.sampler_) return refuse(": a rule of the grammar begins with itself");
    const bool fits = spec.lazy || std::ranges::all_of(spec.prefill, [&](Token token) {
                        // llama.cpp aborts on an end of generation that comes too early.
                        return !vocabulary.ends_generation(token) && grammar.accept(token);
                      });
    if (fits) return grammar;
  } catch (const std::exception& thrown) {
    return refuse(std::string(": the grammar is refused: ") + thrown.what());
  }
  if (spec.plain.empty()) return refuse(": the grammar does not go on from the model's template");
  return compile({.gbnf = spec.plain, .field = spec.field}, vocabulary);
}

void Grammar::apply(std::span<llama_token_data> candidates) {
  llama_token_data_array array{
      .data = candidates.data(), .size = candidates.size(), .selected = -1, .sorted = false};
  try {
    llama_sampler_apply(sampler_.get(), &array);
  } catch (const std::exception&) {
    overrun_ = true;
  }
}

bool Grammar::allows(Token token) {
  llama_token_data one{.id = token, .logit = 1, .p = 0};
  apply(std::span(&one, 1));
  return !std::isinf(one.logit);
}

void Grammar::mask(std::vector<Candidate>& row) {
  std::vector<llama_token_data> all;
  all.reserve(row.size());
  for (const auto& c : row) all.push_back({c.id, c.logit, 0});
  apply(all);
  for (std::size_t i = 0; i < row.size(); ++i) row[i].logit = all[i].logit;
}

bool Grammar::accept(Token token) {
  try {
    llama_sampler_accept(sampler_.get(), token);
    return true;
  } catch (const std::length_error&) {
    overrun_ = true;
  } catch (const std::exception&) {  // it does not fit
  }
  return false;
}

}  // namespace llorch
