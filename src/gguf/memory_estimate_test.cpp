#include "gguf/memory_estimate.h"

#include <gtest/gtest.h>
#include <limits>

#include "base/limits.h"

namespace llorch {
namespace {

// SmolLM2-135M-Instruct Q4_1.
ModelShape smollm2() {
  ModelShape shape;
  shape.embedding_size = 576;
  shape.layers = 30;
  shape.feed_forward_size = 1536;
  shape.heads.assign(30, 9);
  shape.kv_heads.assign(30, 3);
  shape.key_size = shape.value_size = 64;
  shape.vocabulary_tokens = 49'152;
  shape.weights_bytes = 96 * limits::mib;
  return shape;
}

TEST(EstimateMemory, KnowsTheKvCacheOfAKnownModel) {
  struct Case {
    const char* type;
    std::uint64_t bytes;  // 30 layers x 2 x 3 heads x 64 values
  };
  for (const auto& [type, bytes] : {Case{"f16", 23'040}, {"f32", 46'080}, {"q8_0", 12'240}}) {
    SCOPED_TRACE(type);
    const auto estimate =
        estimate_memory(smollm2(), {.slots = 8, .key_type = type, .value_type = type});
    ASSERT_TRUE(estimate);
    EXPECT_EQ(estimate->kv_bytes_per_token, bytes);
    EXPECT_EQ(estimate->kv_bytes, bytes * 8 * 4096);
    EXPECT_EQ(estimate->total_bytes, estimate->weights_bytes + estimate->kv_bytes +
                                         estimate->compute_bytes + estimate->process_bytes);
  }
}

// clause: P-41
TEST(EstimateMemory, KnowsTheGraphBuffersThatLlamaCppReserves) {
  struct Case {
    std::uint64_t context_tokens;
    double reserved_bytes;  // as llama.cpp says of its compute buffer, batches of 512
  };
  for (const auto& [tokens, reserved] :
       {Case{512, 15'878'176}, {4096, 19'548'192}, {8192, 23'742'496}}) {
    SCOPED_TRACE(tokens);
    const auto estimate = estimate_memory(smollm2(), {.slots = 1, .context_tokens = tokens});
    ASSERT_TRUE(estimate);
    EXPECT_NEAR(static_cast<double>(estimate->compute_bytes), reserved, 0.02 * reserved);
  }
  const auto scores = estimate_memory(smollm2(), {.flash_attention = false})->compute_bytes;
  EXPECT_GT(scores, 4 * estimate_memory(smollm2(), {})->compute_bytes);
}

TEST(EstimateMemory, CountsEachLayersOwnHeads) {
  auto shape = smollm2();
  for (std::size_t i = 0; i < 15; ++i) shape.kv_heads[i] = 0;
  EXPECT_EQ(estimate_memory(shape, {})->kv_bytes_per_token, 11'520u);
}

TEST(EstimateMemory, RefusesAKvTypeThatIsUnknownOrDoesNotDivideAHead) {
  EXPECT_EQ(estimate_memory(smollm2(), {.key_type = "q3_K"}).error().code, Code::invalid_request);
  auto narrow = smollm2();
  narrow.key_size = 5;
  const auto refused = estimate_memory(narrow, {.key_type = "q8_0"});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::invalid_request);
  EXPECT_EQ(refused.error().next, "use f16");
}

TEST(EstimateMemory, SaturatesInsteadOfWrapping) {
  const auto most = std::numeric_limits<std::uint64_t>::max();
  const auto estimate = estimate_memory(smollm2(), {.slots = 256, .context_tokens = most / 2});
  ASSERT_TRUE(estimate);
  EXPECT_EQ(estimate->total_bytes, most);
  EXPECT_FALSE(fits(*estimate, most - 1));
}

// clause: P-21
TEST(Fits, LeavesTheMachineItsReserve) {
  const auto estimate = *estimate_memory(smollm2(), {});
  const auto needed = estimate.total_bytes + limits::memory_reserve_bytes;
  EXPECT_TRUE(fits(estimate, needed));
  EXPECT_FALSE(fits(estimate, needed - 1));
  EXPECT_TRUE(require_fit(estimate, needed));
  const auto refused = require_fit(estimate, needed - 1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::insufficient_memory);
  EXPECT_NE(refused.error().next.find("--slots"), std::string::npos);
}

}  // namespace
}  // namespace llorch
