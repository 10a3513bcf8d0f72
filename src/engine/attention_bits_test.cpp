// third_party/patches/0004: attention of many rows has the bits of plain tiles, where every sum is
// added in the order of the cells, for any number of threads and of heads that share keys.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <ggml-cpu.h>
#include <ggml.h>
#include <gtest/gtest.h>
#include <random>
#include <vector>

#include "fakes/ggml_scratch.h"

extern "C" double ggml_vec_soft_max_f32(int n, float* y, const float* x, float max);  // of ggml-cpu

namespace llorch::attention_bits {
namespace {

constexpr std::int64_t tile = 64;  // cells
constexpr std::int64_t few_cells = 200;
constexpr std::int64_t long_cells = 520;  // from 512 on fewer rows are computed in tiles, too

// How models differ: a bias of the mask that each head takes by its own slope, a bound on scores, a
// sink of each head, cells in full precision, no mask.
struct Kind {
  std::int64_t heads = 9, key_heads = 3, width = 64, value_width = 64;
  float max_bias = 0, softcap = 0;
  bool has_sinks = false, has_mask = true;
  ggml_type cell_type = GGML_TYPE_F16;
  std::int64_t cells = few_cells;
};

struct Attention {
  Kind kind;
  std::int64_t rows = 0;
  std::vector<float> queries, keys, values;  // [heads][rows or cells][width]
  std::vector<float> result;                 // [rows][heads][value width]
};

float scale_of(const Kind& kind) {
  return 1.0F / std::sqrt(static_cast<float>(kind.width));
}

// A row sees the cells up to its place; but for one that has been freed.
float mask_value(std::int64_t cell, std::int64_t row, const Kind& kind) {
  if (!kind.has_mask) return 0;
  const auto before = kind.cells - few_cells;
  if (cell > before + row * 3 / 2 || cell == 5) return -INFINITY;
  return kind.max_bias > 0 ? -static_cast<float>(cell % 8) : 0;
}

float sink_of(std::int64_t head) {
  return static_cast<float>(head) / 4 - 1;
}

std::vector<float> fill(ggml_tensor* tensor, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> copy;
  for (std::int64_t i = 0; i < ggml_nelements(tensor); ++i) {
    auto value = normal(random);
    if (tensor->type == GGML_TYPE_F16) {
      auto& half = static_cast<ggml_fp16_t*>(tensor->data)[i];
      half = ggml_fp32_to_fp16(value);
      value = ggml_fp16_to_fp32(half);
    } else {
      ggml_get_data_f32(tensor)[i] = value;
    }
    copy.push_back(value);
  }
  return copy;
}

ggml_tensor* mask_of(ggml_context* context, std::int64_t rows, const Kind& kind) {
  if (!kind.has_mask) return nullptr;
  auto* const mask = ggml_new_tensor_2d(context, GGML_TYPE_F16, kind.cells, rows);
  auto* out = static_cast<ggml_fp16_t*>(mask->data);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t cell = 0; cell < kind.cells; ++cell)
      *out++ = ggml_fp32_to_fp16(mask_value(cell, row, kind));
  }
  return mask;
}

Attention attend(const Kind& kind, std::int64_t rows, int threads) {
  const auto context = ggml_scratch();
  auto* const q = ggml_new_tensor_3d(context.get(), GGML_TYPE_F32, kind.width, rows, kind.heads);
  auto* const k =
      ggml_new_tensor_3d(context.get(), kind.cell_type, kind.width, kind.cells, kind.key_heads);
  auto* const v = ggml_new_tensor_3d(context.get(), kind.cell_type, kind.value_width, kind.cells,
                                     kind.key_heads);
  Attention made{.kind = kind, .rows = rows};
  made.queries = fill(q, 1);
  made.keys = fill(k, 2);
  made.values = fill(v, 3);
  auto* const out = ggml_flash_attn_ext(context.get(), q, k, v, mask_of(context.get(), rows, kind),
                                        scale_of(kind), kind.max_bias, kind.softcap);
  if (kind.has_sinks) {
    auto* const sinks = ggml_new_tensor_1d(context.get(), GGML_TYPE_F32, kind.heads);
    for (std::int64_t head = 0; head < kind.heads; ++head)
      ggml_get_data_f32(sinks)[head] = sink_of(head);
    ggml_flash_attn_ext_add_sinks(out, sinks);
  }
  auto* const graph = ggml_new_graph(context.get());
  ggml_build_forward_expand(graph, out);
  EXPECT_EQ(ggml_graph_compute_with_ctx(context.get(), graph, threads), GGML_STATUS_SUCCESS);
  made.result.assign(ggml_get_data_f32(out), ggml_get_data_f32(out) + ggml_nelements(out));
  return made;
}

// ALiBi's factor for the bias of a head's mask.
float slope_of(std::int64_t head, const Kind& kind) {
  if (kind.max_bias <= 0) return 1;
  const auto first = std::int64_t{1} << static_cast<int>(std::log2(kind.heads));
  const auto wide = static_cast<float>(first);
  return head < first
             ? std::pow(std::pow(2.0F, -kind.max_bias / wide), static_cast<float>(head + 1))
             : std::pow(std::pow(2.0F, -(kind.max_bias / 2) / wide),
                        static_cast<float>(2 * (head - first) + 1));
}

struct Sums {
  std::vector<float> values;
  float total = 0, most = -INFINITY;

  void shrink(float factor) {
    for (auto& value : values) value *= factor;
    total *= factor;
  }
};

void add_tile(Sums& sums, const std::vector<float>& scores, const float* values) {
  const float most = std::ranges::max(scores);
  if (most == -INFINITY) return;
  if (most > sums.most) {
    sums.shrink(std::exp(sums.most - most));
    sums.most = most;
  }
  std::vector<float> weights(scores.size());
  sums.total = static_cast<float>(sums.total +
                                  ggml_vec_soft_max_f32(static_cast<int>(scores.size()),
                                                        weights.data(), scores.data(), sums.most));
  const auto width = sums.values.size();
  for (std::size_t i = 0; i < width; ++i) {
    for (std::size_t cell = 0; cell < weights.size(); ++cell) {
      if (scores[cell] == -INFINITY) continue;  // a weight of 0, and maybe no such cell
      sums.values[i] = std::fma(weights[cell], values[cell * width + i], sums.values[i]);
    }
  }
}

float score_of(const Kind& kind, const float* query, const float* key, float bias) {
  float score = 0;
  for (std::int64_t i = 0; i < kind.width; ++i) score = std::fma(query[i], key[i], score);
  // Rounded after each step, whatever the compiler would join.
  volatile float rounded =
      score * (kind.softcap > 0 ? scale_of(kind) / kind.softcap : scale_of(kind));
  if (kind.softcap > 0) rounded = std::tanh(rounded) * kind.softcap;
  return rounded + bias;
}

std::vector<float> by_plain_tiles(const Attention& of, std::int64_t row, std::int64_t head) {
  const auto& kind = of.kind;
  const auto key_head = head / (kind.heads / kind.key_heads);
  const auto* const query =
      &of.queries[static_cast<std::size_t>((head * of.rows + row) * kind.width)];
  const auto* const keys = &of.keys[static_cast<std::size_t>(key_head * kind.cells * kind.width)];
  const auto* const values =
      &of.values[static_cast<std::size_t>(key_head * kind.cells * kind.value_width)];
  Sums sums{.values = std::vector<float>(static_cast<std::size_t>(kind.value_width))};
  for (std::int64_t start = 0; start < kind.cells; start += tile) {
    std::vector<float> scores(tile, -INFINITY);
    for (std::int64_t cell = start; cell < std::min(start + tile, kind.cells); ++cell) {
      volatile float bias = slope_of(head, kind) * mask_value(cell, row, kind);
      scores[static_cast<std::size_t>(cell - start)] =
          score_of(kind, query, keys + cell * kind.width, bias);
    }
    add_tile(sums, scores, values + start * kind.value_width);
  }
  if (kind.has_sinks && sink_of(head) > sums.most) {
    const float factor = std::exp(sums.most - sink_of(head));
    const float total = std::fma(sums.total, factor, 1.0F);  // rounded once
    sums.shrink(factor);
    sums.total = total;
  } else if (kind.has_sinks) {
    sums.total += std::exp(sink_of(head) - sums.most);
  }
  for (auto& value : sums.values) value *= 1 / sums.total;
  return sums.values;
}

void expect_the_bits_of_plain_tiles(const Kind& kind, std::int64_t rows, int threads) {
  const auto made = attend(kind, rows, threads);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t head = 0; head < kind.heads; ++head) {
      const auto at = made.result.begin() +
                      static_cast<std::ptrdiff_t>((row * kind.heads + head) * kind.value_width);
      const std::vector<float> told(at, at + static_cast<std::ptrdiff_t>(kind.value_width));
      ASSERT_EQ(told, by_plain_tiles(made, row, head))
          << "row " << row << " of " << rows << ", head " << head << " of " << kind.heads
          << ", width " << kind.width << ", " << threads << " threads";
    }
  }
}

#if defined(__x86_64__)
class AttentionBits : public testing::TestWithParam<Kind> {};

TEST_P(AttentionBits, AreThoseOfPlainTiles) {
  if (ggml_cpu_has_fma() == 0) GTEST_SKIP() << "it adds otherwise";
  const std::int64_t least = GetParam().cells == few_cells ? 64 : 17;
  for (const std::int64_t rows : {least, least + 3}) {
    for (const int threads : {1, 3}) expect_the_bits_of_plain_tiles(GetParam(), rows, threads);
  }
}

// Heads that share keys by three, seven, four and not at all; widths that fill no register.
INSTANTIATE_TEST_SUITE_P(
    Kinds, AttentionBits,
    testing::Values(
        Kind{}, Kind{.heads = 7, .key_heads = 1},
        Kind{.heads = 8, .key_heads = 2, .width = 128, .value_width = 128},
        Kind{.heads = 2, .key_heads = 2, .width = 72, .value_width = 40}, Kind{.max_bias = 8},
        Kind{.has_sinks = true}, Kind{.softcap = 20},
        Kind{.width = 80, .value_width = 80, .has_mask = false}, Kind{.cell_type = GGML_TYPE_F32},
        Kind{.cells = long_cells},
        Kind{.heads = 2, .key_heads = 2, .width = 72, .value_width = 40, .cells = long_cells}));
#endif

}  // namespace
}  // namespace llorch::attention_bits
