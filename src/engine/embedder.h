// Makes embeddings in a context of its own, made on first use.
// Threads: one, the embedding thread. Lifetime: shorter than the model's.
#pragma once

#include <functional>

#include "engine/engine.h"
#include "engine/loaded_model.h"

namespace llorch {

class Embedder {
 public:
  explicit Embedder(const LoadedModel& loaded) : loaded_(loaded) {}

  // Shape: one vector an input, of length 1, `dimensions` or embedding_size long.
  // `left` is asked before each input: nobody waits any more.
  // Errors: invalid_request (dimensions), context_length_exceeded, insufficient_memory,
  // backend_error, cancelled.
  Result<Embeddings> embed(const EmbeddingRequest& request, const std::function<bool()>& left);

 private:
  Result<std::vector<float>> embed_one(const std::vector<Token>& tokens, std::size_t dimensions);

  const LoadedModel& loaded_;
  ContextHandle context_;
};

}  // namespace llorch
