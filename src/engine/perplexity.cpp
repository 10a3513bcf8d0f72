#include "engine/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fmt/format.h>
#include <utility>

#include "base/limits.h"
#include "engine/llama_handles.h"
#include "engine/loaded_model.h"

namespace llorch {
namespace {

using std::chrono::steady_clock;

double seconds_since(steady_clock::time_point start) {
  return std::chrono::duration<double>(steady_clock::now() - start).count();
}

std::unexpected<Error> broken_decode(int status) {
  return fail(Code::backend_error, fmt::format("llama_decode: status {}", status),
              "see the log of llama.cpp");
}

// A context in which a whole chunk is one batch, and the second half of it has logits.
Result<ContextHandle> make_scoring_context(const LoadedModel& loaded, std::int64_t chunk) {
  auto params = llama_context_default_params();
  const auto tokens = static_cast<std::uint32_t>(chunk);
  params.n_ctx = params.n_batch = params.n_ubatch = tokens;
  params.n_seq_max = 1;
  params.n_outputs_max = tokens;
  params.n_threads = params.n_threads_batch = loaded.threads;
  params.flash_attn_type =
      loaded.card.flash_attention ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  params.no_perf = true;
  params.offload_kqv = params.op_offload = loaded.card.backend != "cpu";
  ContextHandle context(llama_init_from_model(loaded.model.get(), params));
  if (context) return context;
  return fail(Code::insufficient_memory, fmt::format("no memory for a context of {} tokens", chunk),
              "a smaller model");
}

struct Losses {
  double sum = 0;
  double squares = 0;
  std::int64_t count = 0;
};

// Evaluates one chunk and adds the losses of its second half. Gives their sum.
Result<double> score_chunk(const LoadedModel& loaded, llama_context* context, Batch& batch,
                           std::span<const Token> chunk, Losses& losses) {
  const auto size = static_cast<std::int32_t>(chunk.size());
  const std::int32_t first = size / 2;
  batch.clear();
  // As the model was trained to see a text begin.
  const auto bos = llama_vocab_bos(loaded.vocabulary->get());
  for (std::int32_t i = 0; i < size; ++i) {
    const bool begins = i == 0 && loaded.vocabulary->adds_bos();
    batch.add(begins ? bos : chunk[static_cast<std::size_t>(i)], i, 0, i >= first && i + 1 < size);
  }
  llama_memory_clear(llama_get_memory(context), false);
  if (const int status = llama_decode(context, batch.get()); status != 0) {
    return broken_decode(status);
  }
  double sum = 0;
  for (std::int32_t i = first; i + 1 < size; ++i) {
    const double loss = token_loss(llama_get_logits_ith(context, i), loaded.vocabulary->size(),
                                   chunk[static_cast<std::size_t>(i) + 1]);
    sum += loss;
    losses.squares += loss * loss;
    losses.count += 1;
  }
  losses.sum += sum;
  return sum;
}

void conclude(PerplexityReport& report, const Losses& losses) {
  const auto count = static_cast<double>(losses.count);
  const double mean = losses.sum / count;
  const double variance = std::max(0.0, losses.squares / count - mean * mean);
  report.tokens_scored = losses.count;
  report.perplexity = std::exp(mean);
  report.stderr_ = count > 1 ? report.perplexity * std::sqrt(variance / (count - 1)) : 0;
}

// Best of a few runs each: what the machine can do, not what else it did meanwhile.
Result<void> measure_speed(const LoadedModel& loaded, std::span<const Token> text,
                           PerplexityReport& report) {
  constexpr int rounds = 3;
  constexpr std::size_t context_tokens = 64;  // before decoding begins
  constexpr std::size_t decode_tokens = 32;
  auto* const context = loaded.context.get();
  Batch batch(static_cast<std::int32_t>(text.size()));
  const auto run = [&](std::size_t from, std::size_t count) -> Result<double> {
    batch.clear();
    for (std::size_t i = from; i < from + count; ++i) {
      batch.add(text[i], static_cast<llama_pos>(i), 0, i + 1 == from + count);
    }
    const auto start = steady_clock::now();
    if (const int status = llama_decode(context, batch.get()); status != 0) {
      return broken_decode(status);
    }
    llama_synchronize(context);
    return static_cast<double>(count) / std::max(seconds_since(start), 1e-9);
  };
  for (int round = 0; round < rounds; ++round) {
    llama_memory_clear(llama_get_memory(context), false);
    const auto prefill = run(0, text.size());
    if (!prefill) return fail(prefill.error());
    report.prefill_tokens_per_second = std::max(report.prefill_tokens_per_second, *prefill);
    llama_memory_clear(llama_get_memory(context), false);
    if (const auto begun = run(0, std::min(context_tokens, text.size() / 2)); !begun) {
      return fail(begun.error());
    }
    const auto begin = std::min(context_tokens, text.size() / 2);
    const auto steps = std::min(decode_tokens, text.size() - begin);
    const auto start = steady_clock::now();
    for (std::size_t step = 0; step < steps; ++step) {
      if (const auto done = run(begin + step, 1); !done) return fail(done.error());
    }
    const double speed = static_cast<double>(steps) / std::max(seconds_since(start), 1e-9);
    report.decode_tokens_per_second = std::max(report.decode_tokens_per_second, speed);
  }
  return {};
}

Result<void> score(const LoadedModel& loaded, std::span<const Token> tokens, std::int64_t chunk,
                   const std::function<void(double)>& progress, PerplexityReport& report) {
  const auto context = make_scoring_context(loaded, chunk);
  if (!context) return fail(context.error());
  const auto pool = start_threads(loaded.threads);
  llama_attach_threadpool(context->get(), pool.get(), nullptr);
  Batch batch(static_cast<std::int32_t>(chunk));
  Losses losses;
  const auto size = static_cast<std::size_t>(chunk);
  const auto start = steady_clock::now();
  for (std::size_t at = 0; at + size <= tokens.size(); at += size) {
    const auto loss = score_chunk(loaded, context->get(), batch, tokens.subspan(at, size), losses);
    if (!loss) return fail(loss.error());
    report.chunk_loss.push_back(*loss);
    report.tokens += chunk;
    progress(static_cast<double>(at + size) /
             static_cast<double>(tokens.size() - tokens.size() % size));
  }
  report.tokens_per_second =
      static_cast<double>(report.tokens) / std::max(seconds_since(start), 1e-9);
  llama_detach_threadpool(context->get());
  conclude(report, losses);
  return {};
}

}  // namespace

double token_loss(const float* logits, std::int32_t vocabulary_tokens, std::int32_t token) {
  const float most = *std::max_element(logits, logits + vocabulary_tokens);
  double sum = 0;
  for (std::int32_t i = 0; i < vocabulary_tokens; ++i) {
    sum += static_cast<double>(std::exp(logits[i] - most));
  }
  return std::log(sum) - static_cast<double>(logits[token] - most);
}

Result<PerplexityReport> measure_perplexity(const EngineOptions& options, std::string_view text,
                                            const std::function<void(double)>& progress) {
  EngineOptions alone = options;
  alone.slots = 1;
  alone.ctx_tokens = limits::perplexity_chunk_tokens;
  const auto loaded = load_model(alone, [](double) {});
  if (!loaded) return fail(loaded.error());
  if (loaded->card.embeddings_only) {
    return fail(Code::invalid_request, options.model_path + ": only makes embeddings",
                "give a model that generates text");
  }
  const auto tokens = loaded->vocabulary->tokenize(text, false, false);
  if (!tokens) return fail(tokens.error());
  const auto chunk = std::min(limits::perplexity_chunk_tokens,
                              std::max<std::int64_t>(2, loaded->card.train_context_tokens));
  if (static_cast<std::int64_t>(tokens->size()) < chunk) {
    return fail(Code::invalid_request,
                fmt::format("the text has {} tokens, one chunk has {}", tokens->size(), chunk),
                fmt::format("give a longer text; a verdict needs {} tokens",
                            limits::perplexity_tokens_min));
  }
  PerplexityReport report;
  report.card = loaded->card;
  if (const auto done = score(*loaded, *tokens, chunk, progress, report); !done) {
    return fail(done.error());
  }
  const auto pool = start_threads(loaded->threads);
  llama_attach_threadpool(loaded->context.get(), pool.get(), nullptr);
  const auto measured =
      measure_speed(*loaded, std::span(*tokens).first(static_cast<std::size_t>(chunk)), report);
  llama_detach_threadpool(loaded->context.get());
  if (!measured) return fail(measured.error());
  return report;
}

}  // namespace llorch
