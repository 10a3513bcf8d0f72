// How well a model foretells a text, and how fast it is: what decides whether a cheaper layout of
// its weights will do. Threads: blocks its caller.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/llama_engine.h"

namespace llorch {

// The text is cut into chunks of 512 tokens, each evaluated on its own; the first half of a chunk
// is context, the tokens of the second half are scored. The same figures for the same file, text,
// device and number of threads.
struct PerplexityReport {
  std::int64_t tokens = 0;               // evaluated: whole chunks only
  std::int64_t tokens_scored = 0;        // of them, those that count
  double perplexity = 0;                 // exp of the mean loss
  double stderr_ = 0;                    // of the perplexity
  double tokens_per_second = 0;          // of evaluating chunks, scoring included
  std::vector<double> chunk_loss;        // sum of -log p over each chunk: pairs two models' chunks
  double prefill_tokens_per_second = 0;  // best of a few short runs of one stream
  double decode_tokens_per_second = 0;
  ModelCard card;
};

// Errors: those of load_llama_engine(); invalid_request (the text is shorter than a chunk, or the
// model only embeds), backend_error. `progress` takes 0..1.
// Source: llama.cpp tools/perplexity, without its overlap option.
Result<PerplexityReport> measure_perplexity(const EngineOptions& options, std::string_view text,
                                            const std::function<void(double)>& progress);

// -log of the probability that the logits give to `token`. Shape: logits [vocabulary], token in it.
double token_loss(const float* logits, std::int32_t vocabulary_tokens, std::int32_t token);

}  // namespace llorch
