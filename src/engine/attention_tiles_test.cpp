// third_party/patches/0004 and 0009: attention leaves out no row and lets no row see what its mask
// hides, whatever the threads share; a few rows have the bits of the plain loop.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <ggml-cpu.h>
#include <ggml.h>
#include <gtest/gtest.h>
#include <random>
#include <vector>

#include "base/limits.h"
#include "fakes/ggml_scratch.h"

namespace llorch {
namespace {

constexpr std::int64_t heads = 9, key_heads = 3;
constexpr float scale = 0.125F;

struct Attention {
  std::int64_t width;  // of a head
  std::int64_t cells;
  std::vector<float> queries, keys, values, result;  // result: [rows][heads][width]
};

// A row sees the cells up to its place, as in a prompt: the first one, later ones all; but for one
// that has been freed.
bool is_visible(std::int64_t cell, std::int64_t row) {
  return cell < 1 + row * 3 / 2 && cell != 5;
}

ggml_tensor* causal_mask(ggml_context* context, std::int64_t rows, std::int64_t cells) {
  auto* const mask = ggml_new_tensor_2d(context, GGML_TYPE_F16, cells, rows);
  auto* out = static_cast<ggml_fp16_t*>(mask->data);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t cell = 0; cell < cells; ++cell) {
      *out++ = ggml_fp32_to_fp16(is_visible(cell, row) ? 0.0F : -INFINITY);
    }
  }
  return mask;
}

Attention attend(std::int64_t rows, int threads, std::int64_t width = 64,
                 std::int64_t cells = 200) {
  const auto context = ggml_scratch();
  auto* const q = ggml_new_tensor_3d(context.get(), GGML_TYPE_F32, width, rows, heads);
  auto* const k = ggml_new_tensor_3d(context.get(), GGML_TYPE_F16, width, cells, key_heads);
  auto* const v = ggml_new_tensor_3d(context.get(), GGML_TYPE_F16, width, cells, key_heads);
  Attention made{
      .width = width, .cells = cells, .queries = {}, .keys = {}, .values = {}, .result = {}};
  // A row's query is its own however many rows there are.
  for (std::int64_t at = 0; at < heads * rows; ++at) {
    std::mt19937_64 random(static_cast<std::uint64_t>(at / rows * 1'000 + at % rows));
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < width; ++i) {
      made.queries.push_back(ggml_get_data_f32(q)[at * width + i] = normal(random));
    }
  }
  std::mt19937_64 random(5);
  std::normal_distribution<float> normal;
  for (auto [tensor, copy] : {std::pair{k, &made.keys}, std::pair{v, &made.values}}) {
    auto* const halves = static_cast<ggml_fp16_t*>(tensor->data);
    for (std::int64_t i = 0; i < ggml_nelements(tensor); ++i) {
      halves[i] = ggml_fp32_to_fp16(normal(random));
      copy->push_back(ggml_fp16_to_fp32(halves[i]));
    }
  }
  auto* const mask = causal_mask(context.get(), rows, cells);
  auto* const out = ggml_flash_attn_ext(context.get(), q, k, v, mask, scale, 0, 0);
  auto* const graph = ggml_new_graph(context.get());
  ggml_build_forward_expand(graph, out);
  EXPECT_EQ(ggml_graph_compute_with_ctx(context.get(), graph, threads), GGML_STATUS_SUCCESS);
  made.result.assign(ggml_get_data_f32(out), ggml_get_data_f32(out) + ggml_nelements(out));
  return made;
}

// By the formula, one row of one head.
std::vector<double> expected(const Attention& of, std::int64_t rows, std::int64_t row,
                             std::int64_t head) {
  const auto width = of.width;
  const auto* const query = &of.queries[static_cast<std::size_t>((head * rows + row) * width)];
  const auto first = static_cast<std::size_t>(head / (heads / key_heads) * of.cells * width);
  const auto size = static_cast<std::size_t>(width);
  std::vector<double> sums(size);
  double total = 0;
  for (std::int64_t cell = 0; cell < of.cells; ++cell) {
    if (!is_visible(cell, row)) continue;
    const auto at = first + static_cast<std::size_t>(cell * width);
    double score = 0;
    for (std::size_t i = 0; i < size; ++i) score += query[i] * of.keys[at + i];
    const auto weight = std::exp(score * scale);
    total += weight;
    for (std::size_t i = 0; i < size; ++i) sums[i] += weight * of.values[at + i];
  }
  for (auto& sum : sums) sum /= total;
  return sums;
}

TEST(AttentionTiles, ComputeEveryRowTheSameForAnyNumberOfThreads) {
  for (const std::int64_t rows : {64, 65, 100, 128, 200}) {
    SCOPED_TRACE(rows);
    const auto alone = attend(rows, 1);
    for (const int threads : {2, 3, 7}) EXPECT_EQ(attend(rows, threads).result, alone.result);
    for (const std::int64_t head : {0, 4, 8}) {
      for (const std::int64_t row : {std::int64_t{1}, rows / 2, rows - 1}) {
        const auto want = expected(alone, rows, row, head);
        const auto at = static_cast<std::size_t>((row * heads + head) * alone.width);
        for (std::size_t i = 0; i < want.size(); ++i)
          EXPECT_NEAR(alone.result[at + i], want[i], 2e-3);
      }
    }
  }
}

TEST(AttentionTiles, GiveARowTheSameBitsInAFullTileAndInOneOfItsOwn) {
  const auto made = attend(65, 2);
  const auto& alone = made.result;
  const auto among = attend(128, 2).result;
  const auto at = static_cast<std::ptrdiff_t>(64 * heads * made.width);
  const auto size = static_cast<std::ptrdiff_t>(heads * made.width);
  const std::vector<float> one(alone.begin() + at, alone.begin() + at + size);
  const std::vector<float> same(among.begin() + at, among.begin() + at + size);
  EXPECT_EQ(one, same);
}

#if defined(__x86_64__)
// The plain loop of ggml-cpu for one row of one head: its sums lie in memory in half precision.
std::vector<float> by_the_plain_loop(const Attention& of, std::int64_t rows, std::int64_t row,
                                     std::int64_t head) {
  const auto* const dot = ggml_get_type_traits_cpu(GGML_TYPE_F16);
  const auto size = static_cast<std::size_t>(of.width);
  const auto halves_of = [&](const float* values) {
    std::vector<ggml_fp16_t> halves(size);
    ggml_fp32_to_fp16_row(values, halves.data(), of.width);
    return halves;
  };
  const auto half = [](float value) { return ggml_fp16_to_fp32(ggml_fp32_to_fp16(value)); };
  const auto query =
      halves_of(&of.queries[static_cast<std::size_t>((head * rows + row) * of.width)]);
  const auto first = static_cast<std::size_t>(head / (heads / key_heads) * of.cells * of.width);
  std::vector<float> sums(size);
  float total = 0;
  float most = -INFINITY;
  for (std::int64_t cell = 0; cell < of.cells; ++cell) {
    if (!is_visible(cell, row)) continue;
    const auto at = first + static_cast<std::size_t>(cell * of.width);
    float score = 0;
    dot->vec_dot(static_cast<int>(of.width), &score, 0, halves_of(&of.keys[at]).data(), 0,
                 query.data(), 0, 1);
    score *= scale;
    const float shrunk = score > most ? std::exp(most - score) : 1.0F;
    const float weight = score > most ? 1.0F : std::exp(score - most);
    most = std::max(most, score);
    for (std::size_t i = 0; i < size; ++i) {
      if (shrunk != 1.0F) sums[i] = half(sums[i] * shrunk);
      sums[i] = half(std::fma(of.values[at + i], weight, sums[i]));
    }
    total = std::fma(total, shrunk, weight);
  }
  for (auto& sum : sums) sum *= 1.0F / total;
  return sums;
}

void expect_the_bits_of_the_plain_loop(std::int64_t rows, int threads, std::int64_t width,
                                       std::int64_t cells = 200) {
  const auto made = attend(rows, threads, width, cells);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t head = 0; head < heads; ++head) {
      const auto at = static_cast<std::ptrdiff_t>((row * heads + head) * width);
      const std::vector<float> told(made.result.begin() + at, made.result.begin() + at + width);
      ASSERT_EQ(told, by_the_plain_loop(made, rows, row, head))
          << "row " << row << " of " << rows << ", head " << head << " of " << width << ", "
          << threads << " threads";
    }
  }
}

// A width without a kernel of its own, too.
TEST(AttentionRows, HaveTheBitsOfThePlainLoop) {
  if (ggml_cpu_has_fma() == 0 || ggml_cpu_has_f16c() == 0) GTEST_SKIP() << "it adds otherwise";
  for (const std::int64_t width : {64, 96, 128}) {
    for (const std::int64_t rows : {1, 2, 9, 63}) {
      for (const int threads : {1, 2, 3}) expect_the_bits_of_the_plain_loop(rows, threads, width);
    }
  }
}

// As many as a token with all that are guessed after it.
TEST(AttentionRows, HaveTheSameBitsBesideManyCells) {
  if (ggml_cpu_has_fma() == 0 || ggml_cpu_has_f16c() == 0) GTEST_SKIP() << "it adds otherwise";
  expect_the_bits_of_the_plain_loop(1 + limits::draft_tokens_max, 2, 64, 520);
}
#endif

}  // namespace
}  // namespace llorch
