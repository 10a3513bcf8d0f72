#include "gguf/memory_estimate.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <string>

#include "base/limits.h"

namespace llorch {
namespace {

constexpr std::string_view kv_types[] = {"f32",  "f16",  "bf16", "q8_0",  "q5_1",
                                         "q5_0", "q4_1", "q4_0", "iq4_nl"};

std::uint64_t plus(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<std::uint64_t>::max() : sum;
}

std::uint64_t times(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<std::uint64_t>::max()
                                                : product;
}

Result<const TensorType*> kv_type(std::string_view name) {
  if (std::ranges::find(kv_types, name) == std::end(kv_types)) {
    return fail(Code::invalid_request, fmt::format("KV cache type {} is not known", name),
                fmt::format("use one of {}", fmt::join(kv_types, ", ")));
  }
  return tensor_type(name);
}

// Heads of one layer lie side by side in one row of the cache.
Result<std::uint64_t> layer_bytes(const TensorType& type, std::uint32_t heads, std::uint32_t size) {
  const auto bytes = row_bytes(type, std::uint64_t{heads} * size);
  if (!bytes) {
    return fail(Code::invalid_request,
                fmt::format("KV cache type {} wants rows of a multiple of {}, this model has {}",
                            type.name, type.block_elements, std::uint64_t{heads} * size),
                "use f16");
  }
  return *bytes;
}

Result<std::uint64_t> kv_bytes_per_token(const ModelShape& shape, const MemoryPlan& plan) {
  const auto keys = kv_type(plan.key_type);
  if (!keys) return fail(keys.error());
  const auto values = kv_type(plan.value_type);
  if (!values) return fail(values.error());
  std::uint64_t sum = 0;
  for (const std::uint32_t heads : shape.kv_heads) {
    const auto key_bytes = layer_bytes(**keys, heads, shape.key_size);
    if (!key_bytes) return fail(key_bytes.error());
    const auto value_bytes = layer_bytes(**values, heads, shape.value_size);
    if (!value_bytes) return fail(value_bytes.error());
    sum = plus(sum, plus(*key_bytes, *value_bytes));
  }
  return sum;
}

// A slot's cache holds a multiple of this many tokens. Source: llama-context.cpp, GGML_PAD.
std::uint64_t padded_context(const MemoryPlan& plan) {
  constexpr std::uint64_t pad = 256;
  return plus(plan.context_tokens, pad - 1) / pad * pad;
}

// What is alive at once in one layer's graph: in 32-bit floats five rows of the embedding and three
// of the feed forward for each token of a batch, the attention mask in 16 bits, and the logits of
// each slot. Without flash attention the mask is wider and one layer's scores are there too.
std::uint64_t compute_bytes(const ModelShape& shape, const MemoryPlan& plan) {
  const std::uint64_t heads = shape.heads.empty() ? 0 : *std::ranges::max_element(shape.heads);
  const std::uint64_t batch = std::min<std::uint64_t>(plan.batch_tokens, plan.context_tokens);
  const std::uint64_t row = 4 * (5ull * shape.embedding_size + 3ull * shape.feed_forward_size);
  const std::uint64_t cell = plan.flash_attention ? 2 : 4 * (heads + 1);
  const std::uint64_t attention = times(padded_context(plan), cell);
  const std::uint64_t logits = times(4ull * plan.slots, shape.vocabulary_tokens);
  return plus(times(batch, plus(row, attention)), logits);
}

// The program's own pages, and what the tokenizer keeps: each token's text three times over in
// maps, and the merge rules. Measured with 32 000 to 262 144 tokens; see tests/e2e/test_memory.py.
std::uint64_t process_bytes(const ModelShape& shape) {
  constexpr std::uint64_t program_bytes = 16 * limits::mib;
  constexpr std::uint64_t merge_bytes = 110;
  const std::uint64_t token_bytes = shape.vocabulary_merges > 0 ? 440 : 570;
  return plus(program_bytes, plus(times(token_bytes, shape.vocabulary_tokens),
                                  times(merge_bytes, shape.vocabulary_merges)));
}

}  // namespace

Result<MemoryEstimate> estimate_memory(const ModelShape& shape, const MemoryPlan& plan) {
  const auto per_token = kv_bytes_per_token(shape, plan);
  if (!per_token) return fail(per_token.error());
  MemoryEstimate estimate;
  estimate.weights_bytes = shape.weights_bytes;
  estimate.kv_bytes_per_token = *per_token;
  estimate.kv_bytes = times(*per_token, times(plan.slots, padded_context(plan)));
  estimate.compute_bytes = compute_bytes(shape, plan);
  estimate.process_bytes = process_bytes(shape);
  estimate.total_bytes = plus(plus(estimate.weights_bytes, estimate.kv_bytes),
                              plus(estimate.compute_bytes, estimate.process_bytes));
  return estimate;
}

bool fits(const MemoryEstimate& estimate, std::uint64_t free_bytes) {
  return plus(estimate.total_bytes, limits::memory_reserve_bytes) <= free_bytes;
}

Result<void> require_fit(const MemoryEstimate& estimate, std::uint64_t free_bytes) {
  if (fits(estimate, free_bytes)) return {};
  const auto mib = [](std::uint64_t bytes) { return bytes / limits::mib; };
  return fail(
      Code::insufficient_memory,
      fmt::format("too little memory: the model needs about {} MiB (weights {}, KV cache {}, "
                  "compute {}) and {} MiB are left to the machine; {} MiB are free",
                  mib(estimate.total_bytes), mib(estimate.weights_bytes), mib(estimate.kv_bytes),
                  mib(estimate.compute_bytes), mib(limits::memory_reserve_bytes), mib(free_bytes)),
      "use fewer --slots, a smaller --ctx-tokens or a smaller model");
}

}  // namespace llorch
