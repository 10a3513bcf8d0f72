// The header of a GGUF file, read within bounds: metadata and where each tensor lies.
// Threads: plain values. Source: ggml docs/gguf.md; ggml/src/gguf.cpp, which is never stricter.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "gguf/byte_source.h"
#include "gguf/tensor_type.h"

namespace llorch {

// Numbers as in the file.
enum class GgufType : std::uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};

// An array's elements. `count` is always right; `integers` and `strings` are filled only for the
// arrays that checks need (gguf_header.cpp keeps_elements), so a header stays small.
struct GgufArray {
  GgufType element = GgufType::u8;
  std::uint64_t count = 0;
  std::vector<std::int64_t> integers;
  std::vector<std::string> strings;
};

struct GgufValue {
  GgufType type = GgufType::u8;
  std::variant<std::uint64_t, std::int64_t, double, bool, std::string, GgufArray> value;
};

struct GgufTensor {
  std::string name;
  const TensorType* type = nullptr;
  std::uint32_t dimensions = 1;                    // 1..4
  std::array<std::uint64_t, 4> shape{1, 1, 1, 1};  // innermost first, each 1 or more
  std::uint64_t offset = 0;                        // from the start of the file
  std::uint64_t bytes = 0;
};

struct GgufHeader {
  std::uint32_t version = 0;
  std::uint64_t alignment = 32;
  std::uint64_t data_offset = 0;  // of the first tensor, from the start of the file
  std::uint64_t tensor_bytes = 0;
  std::uint64_t parameters = 0;  // elements of all tensors
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::vector<GgufTensor> tensors;

  // The value when the key is there with exactly this type.
  std::optional<std::uint32_t> find_u32(std::string_view key) const;
  std::optional<double> find_f32(std::string_view key) const;
  std::optional<bool> find_bool(std::string_view key) const;
  const std::string* find_string(std::string_view key) const;
  const GgufArray* find_array(std::string_view key) const;
  const GgufTensor* find_tensor(std::string_view name) const;
};

// Reads and checks the structure: every count, length, type, shape and offset, and that all of
// the tensors lie inside the file. Errors: model_load_failed with what, why and what to do next;
// errors of `source` as they are. Cost: reads the header only, however large the file.
Result<GgufHeader> read_gguf_header(ByteSource& source);

}  // namespace llorch
