// One loaded model and its slots: the only door between a worker and llama.cpp.
// Threads: every method may be called from any thread and returns at once; results arrive through
// the job's Outbox or a callback on a thread of the engine's. Lifetime: destroying the engine
// cancels every job, whose last event is pushed before the destructor returns.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "engine/outbox.h"
#include "protocol/job.h"

namespace llorch {

// Defaults of a model for fields the request leaves open.
struct SamplingDefaults {
  double temperature = 1;
  double top_p = 1;
  double min_p = 0;
  double repetition_penalty = 1;
  double presence_penalty = 0;
  double frequency_penalty = 0;
  std::uint32_t top_k = 0;
};

// What is known of a model once it is loaded; never changes after.
struct ModelCard {
  std::string architecture;
  std::string description;  // "llama 135M Q4_1"
  std::string backend = "cpu";
  std::string device;           // "AMD EPYC", "NVIDIA H200"
  std::string tokenizer_hash;   // 16 hex digits; equal = the same token ids
  std::string template_source;  // "gguf" or the family used instead
  std::string layout;           // "streams" or "unified"
  bool flash_attention = false;
  bool embeddings_only = false;
  std::int32_t slots_total = 1;
  std::int64_t context_tokens = 0;  // per slot
  std::int64_t train_context_tokens = 0;
  std::int64_t vocabulary_tokens = 0;
  std::int64_t embedding_size = 0;
  std::int64_t parameters = 0;
  std::int64_t memory_bytes = 0;  // weights, KV cache and compute buffers
  SamplingDefaults sampling;      // of `/v1`: GGUF's, else llama-server's defaults
};

struct JobProgress {
  JobId id;
  std::int64_t prompt_done = 0;
  std::int64_t tokens_out = 0;
};

// Of the folder of snapshots; all 0 without one.
struct KvDiskLoad {
  std::int64_t files = 0;  // of all workers that share it, as of the last look
  std::int64_t bytes = 0;
  std::uint64_t writes_total = 0;
  std::uint64_t writes_dropped_total = 0;  // too many waited
  std::uint64_t writes_failed_total = 0;
  std::uint64_t reads_total = 0;
  std::uint64_t rejected_total = 0;  // files that could not be used
  std::uint64_t restored_total = 0;  // jobs that began with what was read
};

// A snapshot, at most one engine step old.
struct EngineLoad {
  std::int32_t slots_busy = 0;
  std::int32_t queue_depth = 0;   // accepted, no slot yet
  std::uint64_t engine_step = 0;  // llama_decode calls so far
  std::int64_t kv_cells_used = 0;
  std::int64_t kv_snapshot_bytes = 0;    // of cells kept in memory outside the context
  std::int64_t memory_free_bytes = 0;    // of the backend's device
  double prefill_tokens_per_second = 0;  // running mean, 0 = not measured yet
  double decode_tokens_per_second = 0;   // over all streams
  std::uint64_t tokens_in_total = 0;
  std::uint64_t tokens_out_total = 0;
  std::uint64_t prefix_hit_tokens_total = 0;
  std::uint64_t draft_tokens_total = 0;  // guessed and checked
  std::uint64_t draft_hit_tokens_total = 0;
  // Where the engine's time went: computing prompts, answers, picking tokens, nothing to do.
  double prefill_ms_total = 0;
  double decode_ms_total = 0;
  double sampling_ms_total = 0;
  double waiting_ms_total = 0;
  std::optional<SteadyTime> waiting_since;  // while it waits; load() has counted it up to now
  KvDiskLoad kv_disk;
  std::vector<JobProgress> jobs;
};

struct Tokenized {
  std::vector<Token> tokens;
  std::vector<std::string> pieces;  // bytes of each token, may be part of a UTF-8 character
};

struct Embeddings {
  std::vector<std::vector<float>> vectors;  // one an input, length embedding_size or dimensions
  std::int64_t prompt_tokens = 0;
};

template <class T>
using Reply = std::function<void(Result<T>)>;

class Engine {
 public:
  virtual ~Engine() = default;

  virtual const ModelCard& card() const = 0;
  virtual EngineLoad load() const = 0;

  // Queues a job. Everything that follows, refusals included, arrives in `outbox`, in order:
  // Started once, then TokenOut and PrefillProgress, then exactly one Ended or Failed.
  // Errors (as Failed before Started): invalid_request (grammar, schema, template, a resume that
  // does not fit), context_length_exceeded, backend_error, internal. The caller bounds how many
  // jobs are live; ids of live jobs are unique, the caller cancels a job it replaces.
  virtual void submit(JobRequest job, std::shared_ptr<Outbox> outbox) = 0;

  // Ends a job with Ended{CANCELLED} before the next decode, from queue, prefill or decode.
  // Identifies the run by its outbox, so a replaced attempt cannot cancel its successor.
  // Idempotent.
  virtual void cancel(const std::shared_ptr<Outbox>& outbox) = 0;

  // Errors: invalid_request. `special`: control tokens in the text are recognised as such.
  virtual void tokenize(std::string text, bool special, bool add_bos, Reply<Tokenized> reply) = 0;
  virtual void detokenize(std::vector<Token> tokens, Reply<std::string> reply) = 0;
  // Errors: invalid_request, context_length_exceeded (one input is too long), backend_error,
  // cancelled (`stop` was asked for, between two inputs).
  virtual void embed(EmbeddingRequest request, std::stop_token stop, Reply<Embeddings> reply) = 0;
};

}  // namespace llorch
