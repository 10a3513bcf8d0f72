// One attention of ggml over numbers of its own, for tests of its kernels. Threads: one.
#pragma once

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

namespace llorch {

inline constexpr std::int64_t few_cells = 200;
inline constexpr std::int64_t many_cells =
    520;  // from 512 on fewer rows are computed in tiles, too

// How models differ: a bias of the mask that each head takes by its own slope, a bound on scores, a
// sink of each head, cells in full precision, no mask.
struct AttentionKind {
  std::int64_t heads = 9, key_heads = 3, width = 64, value_width = 64;
  float max_bias = 0, softcap = 0;
  bool has_sinks = false, has_mask = true;
  ggml_type cell_type = GGML_TYPE_F16;
  std::int64_t cells = few_cells;

  float scale() const { return 1.0F / std::sqrt(static_cast<float>(width)); }
  // A row sees the cells up to its place, later ones all; but for one that has been freed.
  float mask_value(std::int64_t cell, std::int64_t row) const {
    if (!has_mask) return 0;
    const auto before = cells - few_cells;
    if (cell > before + row * 3 / 2 || cell == 5) return -INFINITY;
    return max_bias > 0 ? -static_cast<float>(cell % 8) : 0;
  }
  static float sink_of(std::int64_t head) { return static_cast<float>(head) / 4 - 1; }
};

struct Attention {
  AttentionKind kind;
  std::int64_t rows = 0;
  std::vector<float> queries, keys, values;  // [heads][rows or cells][width]
  std::vector<float> result;                 // [rows][heads][value width]

  const float* query(std::int64_t row, std::int64_t head) const {
    return &queries[static_cast<std::size_t>((head * rows + row) * kind.width)];
  }
  // Of a head, [cells][width].
  const float* keys_of(std::int64_t head) const {
    return &keys[static_cast<std::size_t>(key_head(head) * kind.cells * kind.width)];
  }
  const float* values_of(std::int64_t head) const {
    return &values[static_cast<std::size_t>(key_head(head) * kind.cells * kind.value_width)];
  }
  std::vector<float> told(std::int64_t row, std::int64_t head) const {
    const auto at =
        result.begin() + static_cast<std::ptrdiff_t>((row * kind.heads + head) * kind.value_width);
    return {at, at + static_cast<std::ptrdiff_t>(kind.value_width)};
  }

 private:
  std::int64_t key_head(std::int64_t head) const { return head / (kind.heads / kind.key_heads); }
};

// Fills `count` values from `first` on, and appends what they are after rounding.
inline void fill_normal(ggml_tensor* tensor, std::int64_t first, std::int64_t count,
                        std::uint64_t seed, std::vector<float>& copy) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  for (auto i = first; i < first + count; ++i) {
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
}

inline ggml_tensor* mask_of(ggml_context* context, std::int64_t rows, const AttentionKind& kind) {
  if (!kind.has_mask) return nullptr;
  auto* const mask = ggml_new_tensor_2d(context, GGML_TYPE_F16, kind.cells, rows);
  auto* out = static_cast<ggml_fp16_t*>(mask->data);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t cell = 0; cell < kind.cells; ++cell)
      *out++ = ggml_fp32_to_fp16(kind.mask_value(cell, row));
  }
  return mask;
}

inline Attention attend(const AttentionKind& kind, std::int64_t rows, int threads) {
  const auto context = ggml_scratch();
  auto* const x = context.get();
  auto* const q = ggml_new_tensor_3d(x, GGML_TYPE_F32, kind.width, rows, kind.heads);
  auto* const k = ggml_new_tensor_3d(x, kind.cell_type, kind.width, kind.cells, kind.key_heads);
  auto* const v =
      ggml_new_tensor_3d(x, kind.cell_type, kind.value_width, kind.cells, kind.key_heads);
  Attention made{.kind = kind, .rows = rows, .queries = {}, .keys = {}, .values = {}, .result = {}};
  // A row's query is its own however many rows there are.
  for (std::int64_t at = 0; at < kind.heads * rows; ++at) {
    const auto seed = static_cast<std::uint64_t>(at / rows * 1'000 + at % rows);
    fill_normal(q, at * kind.width, kind.width, seed, made.queries);
  }
  fill_normal(k, 0, ggml_nelements(k), 1'000'000, made.keys);
  fill_normal(v, 0, ggml_nelements(v), 1'000'001, made.values);
  auto* const out = ggml_flash_attn_ext(x, q, k, v, mask_of(x, rows, kind), kind.scale(),
                                        kind.max_bias, kind.softcap);
  if (kind.has_sinks) {
    auto* const sinks = ggml_new_tensor_1d(x, GGML_TYPE_F32, kind.heads);
    for (std::int64_t head = 0; head < kind.heads; ++head)
      ggml_get_data_f32(sinks)[head] = AttentionKind::sink_of(head);
    ggml_flash_attn_ext_add_sinks(out, sinks);
  }
  auto* const graph = ggml_new_graph(x);
  ggml_build_forward_expand(graph, out);
  EXPECT_EQ(ggml_graph_compute_with_ctx(x, graph, threads), GGML_STATUS_SUCCESS);
  made.result.assign(ggml_get_data_f32(out), ggml_get_data_f32(out) + ggml_nelements(out));
  return made;
}

}  // namespace llorch
