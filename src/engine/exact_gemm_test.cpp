// third_party/patches/0001: the kernels for Q4_1 and Q8_0 give the bits of the plain dot product.
#include <cstdint>
#include <ggml-cpu.h>
#include <ggml.h>
#include <gtest/gtest.h>
#include <random>
#include <vector>

#include "fakes/ggml_scratch.h"

namespace llorch {
namespace {

std::vector<float> random_floats(std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (auto& value : values) value = normal(random);
  return values;
}

// Shape: weights [rows][width], inputs [columns][width]; the result is [columns][rows].
struct Product {
  ggml_type type;
  std::int64_t width, rows, columns;
  std::vector<float> by_matrix, by_dot;
};

void multiply(Product& product, int threads) {
  const auto context = ggml_scratch();
  const auto cells = [](std::int64_t a, std::int64_t b) { return static_cast<std::size_t>(a * b); };
  auto* const weights =
      ggml_new_tensor_2d(context.get(), product.type, product.width, product.rows);
  auto* const inputs =
      ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, product.width, product.columns);
  const auto weight_values = random_floats(cells(product.width, product.rows), 1);
  const auto input_values = random_floats(cells(product.width, product.columns), 2);
  ggml_quantize_chunk(product.type, weight_values.data(), weights->data, 0, product.rows,
                      product.width, nullptr);
  std::copy(input_values.begin(), input_values.end(), ggml_get_data_f32(inputs));
  auto* const result = ggml_mul_mat(context.get(), weights, inputs);
  auto* const graph = ggml_new_graph(context.get());
  ggml_build_forward_expand(graph, result);
  ASSERT_EQ(ggml_graph_compute_with_ctx(context.get(), graph, threads), GGML_STATUS_SUCCESS);
  const auto* const out = ggml_get_data_f32(result);
  product.by_matrix.assign(out, out + cells(product.rows, product.columns));

  const auto* const traits = ggml_get_type_traits_cpu(product.type);
  const auto* const other = ggml_get_type_traits_cpu(traits->vec_dot_type);
  std::vector<char> row(ggml_row_size(traits->vec_dot_type, product.width));
  product.by_dot.resize(product.by_matrix.size());
  for (std::int64_t column = 0; column < product.columns; ++column) {
    other->from_float(input_values.data() + column * product.width, row.data(), product.width);
    for (std::int64_t at = 0; at < product.rows; ++at) {
      const auto* const weight =
          static_cast<const char*>(weights->data) + at * static_cast<std::int64_t>(weights->nb[1]);
      traits->vec_dot(static_cast<int>(product.width),
                      &product.by_dot[static_cast<std::size_t>(column * product.rows + at)], 0,
                      weight, 0, row.data(), 0, 1);
    }
  }
}

void expect_the_bits_of_the_dot_product(ggml_type type, std::int64_t width, std::int64_t rows,
                                        std::int64_t columns) {
  Product product{.type = type,
                  .width = width,
                  .rows = rows,
                  .columns = columns,
                  .by_matrix = {},
                  .by_dot = {}};
  multiply(product, 1 + static_cast<int>((rows + columns) % 3));
  EXPECT_EQ(product.by_matrix, product.by_dot) << ggml_type_name(type) << ", " << width << " wide, "
                                               << rows << " rows, " << columns << " columns";
}

// Widths: one block, less than a panel of the kernel, one, one and a part, two.
TEST(ExactGemm, GivesTheBitsOfTheDotProduct) {
  for (const auto type : {GGML_TYPE_Q4_1, GGML_TYPE_Q8_0}) {
    for (const std::int64_t width : {32, 576, 768, 832, 1536}) {
      for (const std::int64_t rows : {1, 2, 7, 8, 9, 12, 31, 64}) {
        for (const std::int64_t columns : {1, 2, 3, 4, 5, 6, 7, 8, 13, 31, 32, 33, 70}) {
          expect_the_bits_of_the_dot_product(type, width, rows, columns);
        }
      }
    }
    // More blocks in a row than the kernel has room for.
    for (const std::int64_t columns : {1, 2, 9}) {
      expect_the_bits_of_the_dot_product(type, 33'024, 9, columns);
    }
  }
}

}  // namespace
}  // namespace llorch
