// The tokenizer's part of check_model(): texts, types, scores and special tokens agree.
// Threads: pure. Source: src/llama-vocab.cpp llama_vocab::impl::load.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "gguf/gguf_header.h"

namespace llorch {

// The number of tokens. Errors: model_load_failed.
Result<std::uint32_t> check_vocabulary(const GgufHeader& header);

}  // namespace llorch
