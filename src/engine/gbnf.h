// Reads a GBNF grammar before llama.cpp does, whose own parser prints a bad one whole to stderr.
// Threads: any.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

struct llama_vocab;

namespace llorch {

// `field`: of the request, named in the refusal. `vocab` resolves <tokens>; null: there are none.
// Errors: invalid_request with the line and what is wrong there, and nothing else of the text but
// the name of an undefined rule.
Result<void> check_gbnf(const std::string& source, std::string_view field,
                        const llama_vocab* vocab);

// The same grammar with `prefix` before the name of each of its rules, so that several can be
// joined. Shape: a grammar that json_schema_to_grammar wrote.
std::string with_rule_prefix(std::string_view gbnf, std::string_view prefix);

}  // namespace llorch
