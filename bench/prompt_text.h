// Prompts made of common short words, about one token each, the same for the same seed.
// Threads: pure.
#pragma once

#include <cstdint>
#include <string>

#include "load_options.h"

namespace llorch::bench {

// `words` words drawn by `seed`, with spaces between.
std::string words_of(std::uint64_t seed, std::uint32_t words);

// The prompt of request `index`: its shared prefix, if any, then words of its own.
std::string prompt_of(const LoadOptions& options, std::uint32_t index);

// The JSON body of a streamed request to the route, with usage asked for.
std::string request_body(const LoadOptions& options, const std::string& prompt,
                         std::uint32_t max_tokens);

}  // namespace llorch::bench
