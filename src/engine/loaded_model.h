// A model in memory with its context, and what its file says of itself. Loading decides slots,
// context length, layout and flash attention.
// Threads: made on one thread, then used by the engine thread; card and vocabulary by any.
#pragma once

#include <functional>
#include <ggml-backend.h>
#include <memory>
#include <string>

#include "engine/chat_format.h"
#include "engine/llama_engine.h"
#include "engine/llama_handles.h"
#include "engine/vocabulary.h"

namespace llorch {

struct LoadedModel {
  ggml_backend_dev_t device = nullptr;
  ModelHandle model;
  ContextHandle context;  // null for a model that only makes embeddings
  ModelCard card;
  std::unique_ptr<Vocabulary> vocabulary;
  std::unique_ptr<ChatFormat> chat;
  std::int32_t threads = 1;
  std::int32_t batch_tokens_max = 512;
  std::uint32_t file_parts = 1;
  ggml_type kv_type = GGML_TYPE_F16;
};

// Of a context of streams for that many slots; flash attention is the caller's to set.
llama_context_params stream_params(const LoadedModel& loaded, std::uint32_t slots,
                                   std::uint32_t context_tokens, std::int32_t batch_tokens,
                                   std::int32_t threads);

// "cuda" for llama.cpp's "CUDA"; Metal calls itself "MTL" in some versions.
std::string backend_name(ggml_backend_dev_t device);

// An input longer than this would need gigabytes of graph buffers, for it is evaluated in one
// piece.
inline constexpr std::int64_t embedding_tokens_max = 2048;

// Errors: as load_llama_engine(). Threads, batch and flash attention are calibrate()'s.
Result<LoadedModel> load_model(const EngineOptions& options,
                               const std::function<void(double)>& progress);

// A context that gives one embedding a sequence. Errors: insufficient_memory.
// Shape: inputs up to embedding_tokens_max and the context, one at a time.
Result<ContextHandle> make_embedding_context(const LoadedModel& loaded);

}  // namespace llorch
