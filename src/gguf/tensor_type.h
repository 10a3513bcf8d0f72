// The tensor types of GGUF files: their names and block sizes. Threads: any.
// Source: ggml/include/ggml.h enum ggml_type, ggml/src/ggml.c type_traits, ggml-common.h blocks.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace llorch {

struct TensorType {
  std::uint32_t id;
  std::string_view name;         // "q4_1"
  std::uint32_t block_elements;  // a row is a whole number of blocks
  std::uint32_t block_bytes;
};

// nullptr for an id that is unknown, removed, or only used while computing (q8_1, q8_K).
const TensorType* tensor_type(std::uint32_t id);
const TensorType* tensor_type(std::string_view name);

// Bytes of `elements` values; nullopt when they are no whole number of blocks or overflow.
std::optional<std::uint64_t> row_bytes(const TensorType& type, std::uint64_t elements);

}  // namespace llorch
