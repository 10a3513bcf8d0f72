// Takes the patterns out of a JSON schema that llama.cpp cannot turn into a grammar: it would
// accept any string for them too, but says so on stderr with the client's text. Threads: any.
#pragma once

#include <string>

#include "base/result.h"

namespace llorch {

// Errors: invalid_request (not JSON).
Result<std::string> without_foreign_patterns(const std::string& schema_json);

}  // namespace llorch
