#include "engine/embedder.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <utility>

namespace llorch {

Result<std::vector<float>> Embedder::embed_one(const std::vector<Token>& tokens,
                                               std::size_t dimensions) {
  Batch batch(static_cast<std::int32_t>(tokens.size()));
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    batch.add(tokens[i], static_cast<llama_pos>(i), 0, true);
  }
  if (const auto memory = llama_get_memory(context_.get())) llama_memory_clear(memory, false);
  const auto failed =
      llama_model_has_encoder(loaded_.model.get()) && !llama_model_has_decoder(loaded_.model.get())
          ? llama_encode(context_.get(), batch.get())
          : llama_decode(context_.get(), batch.get());
  const float* const row = failed == 0 ? llama_get_embeddings_seq(context_.get(), 0) : nullptr;
  if (row == nullptr) return fail(Code::backend_error, "the model made no embedding");
  std::vector<float> vector(row, row + dimensions);
  double squares = 0;
  for (const float x : vector) squares += static_cast<double>(x) * x;
  const auto scale = squares > 0 ? static_cast<float>(1 / std::sqrt(squares)) : 0.0F;
  for (float& x : vector) x *= scale;
  return vector;
}

Result<Embeddings> Embedder::embed(const EmbeddingRequest& request,
                                   const std::function<bool()>& left) {
  const auto whole = static_cast<std::size_t>(loaded_.card.embedding_size);
  const std::size_t dimensions = request.dimensions.value_or(static_cast<std::uint32_t>(whole));
  if (dimensions < 1 || dimensions > whole) {
    return fail(Code::invalid_request,
                fmt::format("dimensions {}: this model has 1..{}", dimensions, whole));
  }
  if (!context_) {
    auto made = make_embedding_context(loaded_);
    if (!made) return fail(made.error());
    context_ = std::move(*made);
  }
  Embeddings out;
  for (std::size_t i = 0; i < request.inputs.size(); ++i) {
    if (left()) return fail(Code::cancelled, "the client left");
    auto tokens = loaded_.vocabulary->tokenize(request.inputs[i], false, true);
    if (!tokens) return fail(tokens.error());
    const auto count = static_cast<std::int64_t>(tokens->size());
    if (count == 0) {
      return fail(Code::invalid_request, fmt::format("input[{}] has no tokens", i));
    }
    const auto longest = std::min(loaded_.card.context_tokens, embedding_tokens_max);
    if (count > longest) {
      return fail(
          Code::context_length_exceeded,
          fmt::format("input[{}] has {} tokens, the longest input is {}", i, count, longest),
          "split the text");
    }
    out.prompt_tokens += count;
    auto vector = embed_one(*tokens, dimensions);
    if (!vector) return fail(vector.error());
    out.vectors.push_back(std::move(*vector));
  }
  return out;
}

}  // namespace llorch
