// third_party/patches/0004 and 0009: attention leaves out no row and lets no row see what its mask
// hides, whatever the threads share; a few rows have the bits of the plain loop.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <ggml-cpu.h>
#include <ggml.h>
#include <gtest/gtest.h>
#include <vector>

#include "base/limits.h"
#include "fakes/attention.h"

namespace llorch {
namespace {

// By the formula, one row of one head.
std::vector<double> expected(const Attention& of, std::int64_t row, std::int64_t head) {
  const auto size = static_cast<std::size_t>(of.kind.width);
  const auto* const query = of.query(row, head);
  const auto* key = of.keys_of(head);
  const auto* value = of.values_of(head);
  std::vector<double> sums(size);
  double total = 0;
  for (std::int64_t cell = 0; cell < of.kind.cells; ++cell, key += size, value += size) {
    if (of.kind.mask_value(cell, row) != 0) continue;
    double score = 0;
    for (std::size_t i = 0; i < size; ++i) score += query[i] * key[i];
    const auto weight = std::exp(score * of.kind.scale());
    total += weight;
    for (std::size_t i = 0; i < size; ++i) sums[i] += weight * value[i];
  }
  for (auto& sum : sums) sum /= total;
  return sums;
}

TEST(AttentionTiles, ComputeEveryRowTheSameForAnyNumberOfThreads) {
  for (const std::int64_t rows : {64, 65, 100, 128, 200}) {
    SCOPED_TRACE(rows);
    const auto alone = attend({}, rows, 1);
    for (const int threads : {2, 3, 7}) EXPECT_EQ(attend({}, rows, threads).result, alone.result);
    for (const std::int64_t head : {0, 4, 8}) {
      for (const std::int64_t row : {std::int64_t{1}, rows / 2, rows - 1}) {
        const auto want = expected(alone, row, head);
        const auto told = alone.told(row, head);
        for (std::size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(told[i], want[i], 2e-3);
      }
    }
  }
}

TEST(AttentionTiles, GiveARowTheSameBitsInAFullTileAndInOneOfItsOwn) {
  const auto alone = attend({}, 65, 2);
  const auto among = attend({}, 128, 2);
  for (std::int64_t head = 0; head < alone.kind.heads; ++head)
    EXPECT_EQ(alone.told(64, head), among.told(64, head));
}

#if defined(__x86_64__)
// The plain loop of ggml-cpu for one row of one head: its sums lie in memory in half precision.
std::vector<float> by_the_plain_loop(const Attention& of, std::int64_t row, std::int64_t head) {
  const auto* const dot = ggml_get_type_traits_cpu(GGML_TYPE_F16);
  const auto width = of.kind.width;
  const auto size = static_cast<std::size_t>(width);
  const auto halves_of = [&](const float* values) {
    std::vector<ggml_fp16_t> halves(size);
    ggml_fp32_to_fp16_row(values, halves.data(), width);
    return halves;
  };
  const auto half = [](float value) { return ggml_fp16_to_fp32(ggml_fp32_to_fp16(value)); };
  const auto query = halves_of(of.query(row, head));
  const auto* key = of.keys_of(head);
  const auto* value = of.values_of(head);
  std::vector<float> sums(size);
  float total = 0;
  float most = -INFINITY;
  for (std::int64_t cell = 0; cell < of.kind.cells; ++cell, key += size, value += size) {
    if (of.kind.mask_value(cell, row) != 0) continue;
    float score = 0;
    dot->vec_dot(static_cast<int>(width), &score, 0, halves_of(key).data(), 0, query.data(), 0, 1);
    score *= of.kind.scale();
    const float shrunk = score > most ? std::exp(most - score) : 1.0F;
    const float weight = score > most ? 1.0F : std::exp(score - most);
    most = std::max(most, score);
    for (std::size_t i = 0; i < size; ++i) {
      if (shrunk != 1.0F) sums[i] = half(sums[i] * shrunk);
      sums[i] = half(std::fma(value[i], weight, sums[i]));
    }
    total = std::fma(total, shrunk, weight);
  }
  for (auto& sum : sums) sum *= 1.0F / total;
  return sums;
}

void expect_the_bits_of_the_plain_loop(const AttentionKind& kind, std::int64_t rows, int threads) {
  const auto made = attend(kind, rows, threads);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t head = 0; head < kind.heads; ++head) {
      ASSERT_EQ(made.told(row, head), by_the_plain_loop(made, row, head))
          << "row " << row << " of " << rows << ", head " << head << " of " << kind.width << ", "
          << threads << " threads";
    }
  }
}

// A width without a kernel of its own, too.
TEST(AttentionRows, HaveTheBitsOfThePlainLoop) {
  if (ggml_cpu_has_fma() == 0 || ggml_cpu_has_f16c() == 0) GTEST_SKIP() << "it adds otherwise";
  for (const std::int64_t width : {64, 96, 128}) {
    const AttentionKind kind{.width = width, .value_width = width};
    for (const std::int64_t rows : {1, 2, 9, 63}) {
      for (const int threads : {1, 2, 3}) expect_the_bits_of_the_plain_loop(kind, rows, threads);
    }
  }
}

// As many as a token with all that are guessed after it.
TEST(AttentionRows, HaveTheSameBitsBesideManyCells) {
  if (ggml_cpu_has_fma() == 0 || ggml_cpu_has_f16c() == 0) GTEST_SKIP() << "it adds otherwise";
  expect_the_bits_of_the_plain_loop({.cells = many_cells}, 1 + limits::draft_tokens_max, 2);
}
#endif

}  // namespace
}  // namespace llorch
