// What the engine trusts of a model's metadata, checked: sizes, heads, experts, vocabulary.
// Threads: plain values. Lifetime: holds copies, so the header can go.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "gguf/gguf_header.h"

namespace llorch {

struct ModelShape {
  std::string architecture;          // "llama"
  std::string name;                  // general.name, may be empty
  std::string quantization;          // of most weights: "q4_1"
  std::string requantized_from;      // of a file that llorch-candled --optimize wrote: "Q4_1"
  std::string tokenizer_model;       // "gpt2"
  std::string chat_template;         // Jinja, may be empty
  std::string license;               // may be empty
  std::uint32_t context_tokens = 0;  // it was trained for
  std::uint32_t embedding_size = 0;
  std::uint32_t layers = 0;
  std::uint32_t feed_forward_size = 0;  // the largest layer's, 0 = not given
  std::vector<std::uint32_t> heads;     // one a layer; 0 = a layer without attention
  std::vector<std::uint32_t> kv_heads;  // one a layer
  std::uint32_t key_size = 0;           // of one head
  std::uint32_t value_size = 0;         // of one head
  std::uint32_t vocabulary_tokens = 0;
  std::uint64_t vocabulary_merges = 0;  // 0 = a tokenizer without any
  std::uint64_t parameters = 0;
  std::uint64_t weights_bytes = 0;
  std::uint32_t split_number = 0;  // 0-based
  std::uint32_t split_count = 1;
  bool embeddings_only = false;  // not causal, or pooled
};

// The shape of a loadable model. A later part of a split model carries no metadata of its own:
// give the first part's header, then add the weights of the others.
// Errors: model_load_failed, naming key and value.
Result<ModelShape> check_model(const GgufHeader& header);

}  // namespace llorch
