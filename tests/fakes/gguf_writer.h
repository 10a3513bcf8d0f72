// Writes small GGUF files in memory, right or wrong as told, for tests and fuzz seeds.
// Threads: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/gguf_header.h"

namespace llorch {

class GgufWriter {
 public:
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;

  template <class T>
  GgufWriter& number(std::string_view key, GgufType type, T value) {
    begin(key, type);
    put(meta_, value);
    return *this;
  }
  GgufWriter& u32(std::string_view key, std::uint32_t value) {
    return number(key, GgufType::u32, value);
  }
  GgufWriter& f32(std::string_view key, float value) { return number(key, GgufType::f32, value); }
  GgufWriter& text(std::string_view key, std::string_view value) {
    begin(key, GgufType::string);
    put_text(meta_, value);
    return *this;
  }
  GgufWriter& texts(std::string_view key, const std::vector<std::string>& values) {
    begin(key, GgufType::array);
    put(meta_, static_cast<std::uint32_t>(GgufType::string));
    put(meta_, std::uint64_t{values.size()});
    for (const auto& value : values) put_text(meta_, value);
    return *this;
  }
  template <class T>
  GgufWriter& numbers(std::string_view key, GgufType element, const std::vector<T>& values) {
    begin(key, GgufType::array);
    put(meta_, static_cast<std::uint32_t>(element));
    put(meta_, std::uint64_t{values.size()});
    for (const T value : values) put(meta_, value);
    return *this;
  }
  // `bytes` of data follow the header, padded; `offset` is what the one before leaves.
  GgufWriter& tensor(std::string_view name, std::uint32_t type, std::vector<std::uint64_t> shape,
                     std::uint64_t bytes) {
    return tensor_at(name, type, std::move(shape), data_bytes_, bytes);
  }
  GgufWriter& tensor_at(std::string_view name, std::uint32_t type, std::vector<std::uint64_t> shape,
                        std::uint64_t offset, std::uint64_t bytes) {
    ++tensors_;
    put_text(infos_, name);
    put(infos_, static_cast<std::uint32_t>(shape.size()));
    for (const auto size : shape) put(infos_, size);
    put(infos_, type);
    put(infos_, offset);
    last_end_ = data_bytes_ + bytes;
    data_bytes_ += (bytes + alignment - 1) / alignment * alignment;
    return *this;
  }

  // The file, ending right after the last tensor's last byte.
  std::vector<std::byte> file() const {
    std::vector<std::byte> out = header();
    if (tensors_ > 0) out.resize((out.size() + alignment - 1) / alignment * alignment + last_end_);
    return out;
  }
  std::vector<std::byte> header() const {
    std::vector<std::byte> out;
    put(out, std::uint32_t{0x46554747});
    put(out, version);
    put(out, tensors_);
    put(out, keys_);
    out.insert(out.end(), meta_.begin(), meta_.end());
    out.insert(out.end(), infos_.begin(), infos_.end());
    return out;
  }

 private:
  template <class T>
  static void put(std::vector<std::byte>& to, T value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    to.insert(to.end(), bytes.begin(), bytes.end());
  }
  static void put_text(std::vector<std::byte>& to, std::string_view text) {
    put(to, std::uint64_t{text.size()});
    const auto bytes = std::as_bytes(std::span(text));
    to.insert(to.end(), bytes.begin(), bytes.end());
  }
  void begin(std::string_view key, GgufType type) {
    ++keys_;
    put_text(meta_, key);
    put(meta_, static_cast<std::uint32_t>(type));
  }

  std::uint64_t tensors_ = 0;
  std::uint64_t keys_ = 0;
  std::uint64_t data_bytes_ = 0;
  std::uint64_t last_end_ = 0;
  std::vector<std::byte> meta_;
  std::vector<std::byte> infos_;
};

// A sound llama of 2 layers, 4 heads of 4 over 2 key heads, and 5 tokens. `change` runs before the
// tensors are added. A key in `without` is left out, so that a test can give another value.
template <class Change>
GgufWriter tiny_model(std::string_view without, Change change) {
  GgufWriter out;
  const auto add_u32 = [&](std::string_view key, std::uint32_t value) {
    if (key != without) out.u32(key, value);
  };
  if (without != "general.architecture") out.text("general.architecture", "llama");
  add_u32("llama.context_length", 128);
  add_u32("llama.embedding_length", 16);
  add_u32("llama.block_count", 2);
  add_u32("llama.feed_forward_length", 32);
  add_u32("llama.attention.head_count", 4);
  add_u32("llama.attention.head_count_kv", 2);
  if (without != "tokenizer.ggml.model") out.text("tokenizer.ggml.model", "llama");
  if (without != "tokenizer.ggml.tokens") {
    out.texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "<0x0A>", "a"});
  }
  if (without != "tokenizer.ggml.scores") {
    out.numbers<float>("tokenizer.ggml.scores", GgufType::f32, {0, 0, 0, 0, -1});
  }
  if (without != "tokenizer.ggml.token_type") {
    out.numbers<std::int32_t>("tokenizer.ggml.token_type", GgufType::i32, {2, 3, 3, 6, 1});
  }
  change(out);
  if (without != "token_embd.weight") out.tensor("token_embd.weight", 0, {16, 5}, 16 * 5 * 4);
  out.tensor("output_norm.weight", 0, {16}, 16 * 4);
  return out;
}
inline GgufWriter tiny_model() {
  return tiny_model({}, [](GgufWriter&) {});
}

}  // namespace llorch
