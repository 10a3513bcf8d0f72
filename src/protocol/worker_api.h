// Bodies that a worker exchanges beside jobs: registration, heartbeat, cancel, health, ready,
// models, embeddings, tokens. Decoders ignore fields they do not know, but for cancel.
// Threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "protocol/job.h"
#include "protocol/prefix_hash.h"

namespace llorch {

// POST /workers/register
struct Registration {
  std::string worker_id;
  std::string host;
  std::uint16_t port = 0;
  std::string pool_host;
  std::string model;
  std::string backend;
  std::int32_t gpu_id = -1;  // -1: none, null on the wire
  std::int32_t slots_total = 1;
  std::int64_t context_tokens = 0;
  std::string tokenizer_hash;
  std::int64_t memory_bytes = 0;
  std::vector<std::string> capabilities;
  std::string version;
  std::string instance_id;
  bool operator==(const Registration&) const = default;
};
std::string encode(const Registration& registration);
Result<Registration> decode_registration(std::string_view body);
// Whether a host stands for every address of its machine: nobody can be reached by it.
bool is_wildcard(std::string_view host);

// POST /workers/{id}/heartbeat
struct Heartbeat {
  struct Job {
    std::string job_id;
    std::int64_t prompt_done = 0;
    std::int64_t tokens_out = 0;
    bool operator==(const Job&) const = default;
  };
  std::int32_t slots_busy = 0;
  std::int64_t queue_depth = 0;
  std::vector<Job> jobs;
  double prefill_tokens_per_second = 0;
  double decode_tokens_per_second = 0;
  std::int64_t memory_free_bytes = 0;
  std::uint64_t cache_version = 0;
  std::vector<PrefixHash> cache_added;    // at most limits::heartbeat_cache_entries_max
  std::vector<PrefixHash> cache_removed;  // likewise
  bool operator==(const Heartbeat&) const = default;
};
std::string encode(const Heartbeat& heartbeat);
Result<Heartbeat> decode_heartbeat(std::string_view body);
// {"resync":true}: send all cache entries with the next beat. An empty body is false.
Result<bool> decode_heartbeat_resync(std::string_view body);
std::string encode_heartbeat_reply(bool resync);

// POST /cancel: {"job_id":"j1"} → {"status":"cancelled","job_id":"j1"}
Result<JobId> decode_cancel(std::string_view body);
std::string encode_cancel(const JobId& id);
std::string encode_cancelled(const JobId& id);

// GET /health
struct Health {
  enum class Status { healthy, unhealthy, draining };
  enum class State { loading, idle, busy };
  Status status = Status::healthy;
  State state = State::loading;
  std::string worker_id;
  std::string model;
  std::string backend;
  std::int32_t slots_total = 0;
  std::int32_t slots_busy = 0;
  std::int64_t queue_depth = 0;
  std::int64_t memory_bytes = 0;
  std::int64_t context_tokens = 0;
  std::int64_t uptime_seconds = 0;
};
std::string encode(const Health& health);
Result<Health> decode_health(std::string_view body);

// GET /ready: {"ready":false,"state":"loading","progress":0.42}
struct Readiness {
  bool ready = false;
  std::string state;    // ready, loading, draining or failed
  double progress = 0;  // 0..1 of the load
};
std::string encode(const Readiness& readiness);
Result<Readiness> decode_readiness(std::string_view body);

// A model whose weights are another one's in a type that may lose something.
struct LossyLayout {
  std::string type;                // "Q8_0"
  std::string from;                // "Q4_1"
  double perplexity = 0;           // 0: never measured
  double perplexity_original = 0;  // of `from`, over the same tokens
  double rise_percent = 0;
  std::int64_t tokens = 0;
};

// GET /v1/models: one entry, with `meta` as llama-server gives it.
struct ModelEntry {
  std::string id;
  std::int64_t created = 0;  // seconds since the epoch
  std::string state = "ready";
  std::string architecture;
  std::int64_t context_tokens = 0;
  std::int64_t vocabulary_tokens = 0;
  std::int64_t embedding_size = 0;
  std::int64_t parameters = 0;
  bool embeddings_only = false;
  std::string quantization;              // "Q4_1"; empty: not known
  std::optional<LossyLayout> optimized;  // named, for it may answer otherwise than its original
};
std::string encode_models(std::span<const ModelEntry> models);
std::string encode_model(const ModelEntry& model);  // GET /v1/models/{id}

std::string encode_embeddings(std::span<const std::vector<float>> vectors, bool base64,
                              std::string_view model, std::int64_t prompt_tokens);

// `pieces` is empty unless the request asked for them. A piece that is no UTF-8 is given as bytes.
std::string encode_tokenized(std::span<const Token> tokens, std::span<const std::string> pieces,
                             std::int64_t context_tokens);
std::string encode_detokenized(std::string_view text);

}  // namespace llorch
