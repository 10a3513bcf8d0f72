#include "gguf/gguf_header.h"

#include <algorithm>
#include <fmt/format.h>
#include <set>
#include <utility>

#include "base/limits.h"
#include "gguf/byte_cursor.h"

namespace llorch {
namespace {

constexpr std::string_view elsewhere = "download the model again from another source";
constexpr std::string_view again = "download it again";
constexpr std::uint64_t elements_kept_max = 1'024;  // per-layer arrays; layers stop at 512
constexpr std::size_t name_bytes_max = 63;          // GGML_MAX_NAME with its final NUL

// llama.cpp aborts on a vocabulary with a text twice, so the whole of it is looked at.
bool keeps_elements(std::string_view key, std::uint64_t count) {
  return count <= elements_kept_max || key == "tokenizer.ggml.tokens" ||
         key == "tokenizer.ggml.token_type";
}

// llama.cpp looks names up as C strings: a NUL would make two names one.
bool is_printable(std::string_view name) {
  return std::ranges::none_of(name, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

class HeaderReader {
 public:
  explicit HeaderReader(ByteSource& source) : file_bytes_(source.size()), in_(source) {}

  Result<GgufHeader> run() {
    if (read_start() && read_metadata() && read_alignment() && read_tensors() && place_tensors()) {
      return std::move(header_);
    }
    Error error = *in_.error();
    if (error.code == Code::model_load_failed) error.message = "model file: " + error.message;
    return fail(std::move(error));
  }

 private:
  bool refuse(std::string why, std::string_view next = elsewhere) {
    return in_.refuse(std::move(why), std::string(next));
  }

  bool read_start() {
    std::uint32_t magic = 0;
    if (!in_.read(magic)) return false;
    if (magic != 0x46554747) return refuse("it is no GGUF file", "give the path of a .gguf file");
    if (!in_.read(header_.version)) return false;
    if (header_.version != 2 && header_.version != 3) {
      return refuse(
          fmt::format("GGUF version {} is not known, 2 and 3 are (or it was written for "
                      "a big-endian machine)",
                      header_.version));
    }
    if (!in_.read(tensor_count_) || !in_.read(key_count_)) return false;
    if (tensor_count_ > limits::gguf_tensors_max) {
      return refuse(fmt::format("it claims {} tensors, at most {} are allowed", tensor_count_,
                                limits::gguf_tensors_max));
    }
    if (key_count_ > limits::gguf_keys_max) {
      return refuse(fmt::format("it claims {} metadata keys, at most {} are allowed", key_count_,
                                limits::gguf_keys_max));
    }
    return true;
  }

  bool read_metadata() {
    for (std::uint64_t i = 0; i < key_count_; ++i) {
      std::string key;
      std::uint32_t type = 0;
      if (!in_.read(key, limits::gguf_key_bytes_max) || !in_.read(type)) return false;
      if (key.empty() || !is_printable(key)) {
        return refuse(fmt::format("metadata key {} is empty or has control characters", i));
      }
      GgufValue value;
      if (!read_value(key, type, value)) return false;
      const auto [at, added] = header_.metadata.try_emplace(std::move(key), std::move(value));
      if (!added) return refuse(fmt::format("metadata key {} is there twice", at->first));
    }
    return true;
  }

  template <class Raw, class Wide>
  bool read_scalar(GgufValue& value) {
    Raw raw{};
    if (!in_.read(raw)) return false;
    value.value = static_cast<Wide>(raw);
    return true;
  }

  bool read_value(const std::string& key, std::uint32_t type, GgufValue& value) {
    value.type = static_cast<GgufType>(type);
    switch (value.type) {
      case GgufType::u8:
        return read_scalar<std::uint8_t, std::uint64_t>(value);
      case GgufType::u16:
        return read_scalar<std::uint16_t, std::uint64_t>(value);
      case GgufType::u32:
        return read_scalar<std::uint32_t, std::uint64_t>(value);
      case GgufType::u64:
        return read_scalar<std::uint64_t, std::uint64_t>(value);
      case GgufType::i8:
        return read_scalar<std::int8_t, std::int64_t>(value);
      case GgufType::i16:
        return read_scalar<std::int16_t, std::int64_t>(value);
      case GgufType::i32:
        return read_scalar<std::int32_t, std::int64_t>(value);
      case GgufType::i64:
        return read_scalar<std::int64_t, std::int64_t>(value);
      case GgufType::f32:
        return read_scalar<float, double>(value);
      case GgufType::f64:
        return read_scalar<double, double>(value);
      case GgufType::boolean:
        return read_scalar<std::uint8_t, bool>(value);
      case GgufType::string: {
        std::string text;
        if (!in_.read(text, limits::gguf_string_bytes_max)) return false;
        value.value = std::move(text);
        return true;
      }
      case GgufType::array:
        return read_array(key, value);
    }
    return refuse(fmt::format("metadata key {} has the unknown type {}", key, type));
  }

  static std::uint64_t element_bytes(GgufType type) {
    switch (type) {
      case GgufType::u8:
      case GgufType::i8:
      case GgufType::boolean:
        return 1;
      case GgufType::u16:
      case GgufType::i16:
        return 2;
      case GgufType::u32:
      case GgufType::i32:
      case GgufType::f32:
        return 4;
      case GgufType::u64:
      case GgufType::i64:
      case GgufType::f64:
        return 8;
      case GgufType::string:
        return 8;  // at least: its length
      case GgufType::array:
        break;  // llama.cpp takes no arrays of arrays
    }
    return 0;
  }

  bool read_array(const std::string& key, GgufValue& value) {
    std::uint32_t element = 0;
    GgufArray array;
    if (!in_.read(element) || !in_.read(array.count)) return false;
    array.element = static_cast<GgufType>(element);
    const std::uint64_t bytes = element_bytes(array.element);
    if (bytes == 0) {
      return refuse(
          fmt::format("metadata key {} is an array of the unknown type {}", key, element));
    }
    if (array.count > limits::gguf_elements_max) {
      return refuse(fmt::format("metadata key {} claims {} elements, at most {} are allowed", key,
                                array.count, limits::gguf_elements_max));
    }
    if (array.count * bytes > in_.remaining()) {
      return refuse(fmt::format("the file is truncated: {} elements of {} do not end before its {} "
                                "bytes do",
                                array.count, key, file_bytes_),
                    again);
    }
    const bool kept = keeps_elements(key, array.count);
    if (array.element == GgufType::string) {
      if (!read_strings(array, kept)) return false;
    } else if (!kept || array.element == GgufType::f32 || array.element == GgufType::f64) {
      if (!in_.skip(array.count * bytes)) return false;
    } else if (!read_integers(array)) {
      return false;
    }
    value.value = std::move(array);
    return true;
  }

  bool read_strings(GgufArray& array, bool kept) {
    std::string text;
    for (std::uint64_t i = 0; i < array.count; ++i) {
      if (!in_.read(text, limits::gguf_string_bytes_max)) return false;
      if (kept) array.strings.push_back(text);
    }
    return true;
  }

  bool read_integers(GgufArray& array) {
    array.integers.reserve(static_cast<std::size_t>(array.count));
    for (std::uint64_t i = 0; i < array.count; ++i) {
      GgufValue one;
      if (!read_value({}, static_cast<std::uint32_t>(array.element), one)) return false;
      array.integers.push_back(std::visit(
          [](const auto& number) {
            if constexpr (std::is_integral_v<std::decay_t<decltype(number)>>) {
              return static_cast<std::int64_t>(number);
            } else {
              return std::int64_t{0};  // unreachable: floats and strings are read elsewhere
            }
          },
          one.value));
    }
    return true;
  }

  bool read_alignment() {
    const auto at = header_.metadata.find("general.alignment");
    if (at == header_.metadata.end()) return true;
    const auto given = header_.find_u32(at->first);
    // Below 32 the CPU backend aborts on a mapped tensor (ggml-backend.cpp, TENSOR_ALIGNMENT).
    if (!given || *given < 32 || *given > limits::gguf_alignment_max || (*given & (*given - 1))) {
      return refuse("general.alignment is no power of two in 32..65536");
    }
    header_.alignment = *given;
    return true;
  }

  bool read_tensors() {
    std::set<std::string, std::less<>> names;
    for (std::uint64_t i = 0; i < tensor_count_; ++i) {
      GgufTensor tensor;
      if (!in_.read(tensor.name, limits::gguf_key_bytes_max)) return false;
      if (tensor.name.empty() || tensor.name.size() > name_bytes_max ||
          !is_printable(tensor.name)) {
        return refuse(
            fmt::format("the name of tensor {} is empty, longer than {} bytes or has "
                        "control characters",
                        i, name_bytes_max));
      }
      if (!names.insert(tensor.name).second) {
        return refuse(fmt::format("tensor {} is there twice", tensor.name));
      }
      if (!read_shape(tensor)) return false;
      header_.tensors.push_back(std::move(tensor));
    }
    return true;
  }

  bool read_shape(GgufTensor& tensor) {
    std::uint32_t type = 0;
    if (!in_.read(tensor.dimensions)) return false;
    if (tensor.dimensions < 1 || tensor.dimensions > tensor.shape.size()) {
      return refuse(fmt::format("tensor {} has {} dimensions, 1 to 4 are allowed", tensor.name,
                                tensor.dimensions));
    }
    for (std::uint32_t i = 0; i < tensor.dimensions; ++i) {
      if (!in_.read(tensor.shape[i])) return false;
    }
    if (!in_.read(type) || !in_.read(tensor.offset)) return false;
    tensor.type = tensor_type(type);
    if (!tensor.type) {
      return refuse(fmt::format("tensor {} has the unknown type {}", tensor.name, type));
    }
    std::uint64_t elements = 1;
    for (const std::uint64_t size : tensor.shape) {
      // As llama.cpp: the number of elements fits a signed 64-bit number.
      if (size == 0 || __builtin_mul_overflow(elements, size, &elements) || elements >> 63) {
        return refuse(fmt::format("the shape of tensor {} is empty or overflows", tensor.name));
      }
    }
    const bool whole_blocks = tensor.shape[0] % tensor.type->block_elements == 0;
    const auto bytes = whole_blocks ? row_bytes(*tensor.type, elements) : std::nullopt;
    if (!bytes) {
      return refuse(fmt::format("a row of tensor {} is no whole number of {} blocks, or overflows",
                                tensor.name, tensor.type->name));
    }
    tensor.bytes = *bytes;
    if (__builtin_add_overflow(header_.parameters, elements, &header_.parameters)) {
      return refuse("the number of parameters overflows");
    }
    return true;
  }

  // Each tensor starts where the one before ends, padded: so none overlaps another.
  bool place_tensors() {
    const auto padded = [&](std::uint64_t size) {
      return (size + header_.alignment - 1) / header_.alignment * header_.alignment;
    };
    header_.data_offset = padded(in_.position());
    std::uint64_t next = 0;
    for (GgufTensor& tensor : header_.tensors) {
      if (tensor.offset != next) {
        return refuse(fmt::format("tensor {} starts at {} of the data, expected {}", tensor.name,
                                  tensor.offset, next));
      }
      const std::uint64_t start = header_.data_offset + tensor.offset;
      if (start > file_bytes_ || tensor.bytes > file_bytes_ - start) {
        return refuse(fmt::format("the file is truncated: tensor {} needs {} bytes from byte {}, "
                                  "the file ends at {}",
                                  tensor.name, tensor.bytes, start, file_bytes_),
                      again);
      }
      // No overflow below: the tensor lies inside the file, whose size is far below 2^63.
      next += padded(tensor.bytes);
      header_.tensor_bytes += tensor.bytes;
      tensor.offset = start;
    }
    return true;
  }

  std::uint64_t file_bytes_;
  std::uint64_t tensor_count_ = 0;
  std::uint64_t key_count_ = 0;
  ByteCursor in_;
  GgufHeader header_;
};

template <class T>
const T* find_typed(const GgufHeader& header, std::string_view key, GgufType type) {
  const auto at = header.metadata.find(key);
  if (at == header.metadata.end() || at->second.type != type) return nullptr;
  return std::get_if<T>(&at->second.value);
}

}  // namespace

std::optional<std::uint32_t> GgufHeader::find_u32(std::string_view key) const {
  const auto* found = find_typed<std::uint64_t>(*this, key, GgufType::u32);
  if (!found) return std::nullopt;
  return static_cast<std::uint32_t>(*found);
}

std::optional<double> GgufHeader::find_f32(std::string_view key) const {
  const auto* found = find_typed<double>(*this, key, GgufType::f32);
  if (!found) return std::nullopt;
  return *found;
}

std::optional<bool> GgufHeader::find_bool(std::string_view key) const {
  const auto* found = find_typed<bool>(*this, key, GgufType::boolean);
  if (!found) return std::nullopt;
  return *found;
}

const std::string* GgufHeader::find_string(std::string_view key) const {
  return find_typed<std::string>(*this, key, GgufType::string);
}

const GgufArray* GgufHeader::find_array(std::string_view key) const {
  return find_typed<GgufArray>(*this, key, GgufType::array);
}

const GgufTensor* GgufHeader::find_tensor(std::string_view name) const {
  const auto at = std::ranges::find(tensors, name, &GgufTensor::name);
  return at == tensors.end() ? nullptr : &*at;
}

Result<GgufHeader> read_gguf_header(ByteSource& source) {
  // Sizes beyond this are no file's, and sums below cannot wrap.
  if (source.size() > (std::uint64_t{1} << 62)) {
    return fail(Code::model_load_failed, "model file: its size is not plausible");
  }
  return HeaderReader(source).run();
}

}  // namespace llorch
