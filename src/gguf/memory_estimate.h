// How much memory a model takes before it is loaded: weights, KV cache, compute buffers, process.
// Threads: pure.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "gguf/model_shape.h"

namespace llorch {

struct MemoryPlan {
  std::uint32_t slots = 1;
  std::uint64_t context_tokens = 4096;  // per slot
  std::uint32_t batch_tokens = 512;     // evaluated at once
  std::string_view key_type = "f16";    // f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, iq4_nl
  std::string_view value_type = "f16";
  bool flash_attention = true;
};

struct MemoryEstimate {
  std::uint64_t weights_bytes = 0;
  std::uint64_t kv_bytes_per_token = 0;
  std::uint64_t kv_bytes = 0;       // all slots
  std::uint64_t compute_bytes = 0;  // graph and logits of the largest batch
  std::uint64_t process_bytes = 0;  // program and vocabulary, always in main memory
  std::uint64_t total_bytes = 0;    // saturates instead of wrapping
};

// Errors: invalid_request for a KV type that is unknown or does not divide a head's size.
Result<MemoryEstimate> estimate_memory(const ModelShape& shape, const MemoryPlan& plan);

// Whether the estimate leaves the machine limits::memory_reserve_bytes of `free_bytes`.
bool fits(const MemoryEstimate& estimate, std::uint64_t free_bytes);
// Errors: insufficient_memory with both figures and what would help.
Result<void> require_fit(const MemoryEstimate& estimate, std::uint64_t free_bytes);

}  // namespace llorch
