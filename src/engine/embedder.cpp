#include "engine/embedder.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <utility>

namespace llorch {
namespace {

// Errors: invalid_request, context_length_exceeded.
Result<std::vector<Token>> tokens_of_input(const LoadedModel& loaded,
                                           const EmbeddingRequest& request, std::size_t index) {
  auto tokens = loaded.vocabulary->tokenize(request.inputs[index], false, true);
  if (!tokens) return tokens;
  const auto field = fmt::format("input[{}]", index);
  if (tokens->empty()) {
    return fail_field(
        {.field = field, .constraint = "not empty", .message = field + " has no tokens"});
  }
  const auto count = static_cast<std::int64_t>(tokens->size());
  const auto longest = std::min(loaded.card.context_tokens, embedding_tokens_max);
  if (count <= longest) return tokens;
  const auto message =
      fmt::format("{} has {} tokens, the longest input is {}", field, count, longest);
  return fail(
      Error{.code = Code::context_length_exceeded,
            .message = message,
            .violations = {{.field = field, .constraint = "fits the context", .message = message}},
            .next = "split the text"});
}

}  // namespace

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
    return fail_field(
        {.field = "dimensions",
         .constraint = fmt::format("1..{}", whole),
         .message = fmt::format("dimensions {}: this model has 1..{}", dimensions, whole)});
  }
  if (!context_) {
    auto made = make_embedding_context(loaded_);
    if (!made) return fail(made.error());
    context_ = std::move(*made);
  }
  Embeddings out;
  for (std::size_t i = 0; i < request.inputs.size(); ++i) {
    if (left()) return fail(Code::cancelled, "the client left");
    const auto tokens = tokens_of_input(loaded_, request, i);
    if (!tokens) return fail(tokens.error());
    out.prompt_tokens += static_cast<std::int64_t>(tokens->size());
    auto vector = embed_one(*tokens, dimensions);
    if (!vector) return fail(vector.error());
    out.vectors.push_back(std::move(*vector));
  }
  return out;
}

}  // namespace llorch
