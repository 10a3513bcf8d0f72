// third_party/patches/0004: attention of many rows has the bits of plain tiles, where every sum is
// added in the order of the cells, for any number of threads and of heads that share keys.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <ggml-cpu.h>
#include <ggml.h>
#include <gtest/gtest.h>
#include <vector>

#include "fakes/attention.h"

extern "C" double ggml_vec_soft_max_f32(int n, float* y, const float* x, float max);  // of ggml-cpu

namespace llorch::attention_bits {
namespace {

constexpr std::int64_t tile = 64;  // cells

// ALiBi's factor for the bias of a head's mask.
float slope_of(std::int64_t head, const AttentionKind& kind) {
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

float score_of(const AttentionKind& kind, const float* query, const float* key, float bias) {
  float score = 0;
  for (std::int64_t i = 0; i < kind.width; ++i) score = std::fma(query[i], key[i], score);
  // Rounded after each step, whatever the compiler would join.
  volatile float rounded = score * (kind.softcap > 0 ? kind.scale() / kind.softcap : kind.scale());
  if (kind.softcap > 0) rounded = std::tanh(rounded) * kind.softcap;
  return rounded + bias;
}

std::vector<float> by_plain_tiles(const Attention& of, std::int64_t row, std::int64_t head) {
  const auto& kind = of.kind;
  const auto* const query = of.query(row, head);
  const auto* const keys = of.keys_of(head);
  const auto* const values = of.values_of(head);
  Sums sums{.values = std::vector<float>(static_cast<std::size_t>(kind.value_width))};
  for (std::int64_t start = 0; start < kind.cells; start += tile) {
    std::vector<float> scores(tile, -INFINITY);
    for (std::int64_t cell = start; cell < std::min(start + tile, kind.cells); ++cell) {
      volatile float bias = slope_of(head, kind) * kind.mask_value(cell, row);
      scores[static_cast<std::size_t>(cell - start)] =
          score_of(kind, query, keys + cell * kind.width, bias);
    }
    add_tile(sums, scores, values + start * kind.value_width);
  }
  if (kind.has_sinks && AttentionKind::sink_of(head) > sums.most) {
    const float factor = std::exp(sums.most - AttentionKind::sink_of(head));
    const float total = std::fma(sums.total, factor, 1.0F);  // rounded once
    sums.shrink(factor);
    sums.total = total;
  } else if (kind.has_sinks) {
    sums.total += std::exp(AttentionKind::sink_of(head) - sums.most);
  }
  for (auto& value : sums.values) value *= 1 / sums.total;
  return sums.values;
}

void expect_the_bits_of_plain_tiles(const AttentionKind& kind, std::int64_t rows, int threads) {
  const auto made = attend(kind, rows, threads);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t head = 0; head < kind.heads; ++head) {
      ASSERT_EQ(made.told(row, head), by_plain_tiles(made, row, head))
          << "row " << row << " of " << rows << ", head " << head << " of " << kind.heads
          << ", width " << kind.width << ", " << threads << " threads";
    }
  }
}

#if defined(__x86_64__)
class AttentionBits : public testing::TestWithParam<AttentionKind> {};

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
        AttentionKind{}, AttentionKind{.heads = 7, .key_heads = 1},
        AttentionKind{.heads = 8, .key_heads = 2, .width = 128, .value_width = 128},
        AttentionKind{.heads = 2, .key_heads = 2, .width = 72, .value_width = 40},
        AttentionKind{.max_bias = 8}, AttentionKind{.has_sinks = true},
        AttentionKind{.softcap = 20},
        AttentionKind{.width = 80, .value_width = 80, .has_mask = false},
        AttentionKind{.cell_type = GGML_TYPE_F32}, AttentionKind{.cells = many_cells},
        AttentionKind{
            .heads = 2, .key_heads = 2, .width = 72, .value_width = 40, .cells = many_cells}));
#endif

}  // namespace
}  // namespace llorch::attention_bits
