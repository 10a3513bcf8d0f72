#include "gguf/gguf_header.h"

#include <functional>
#include <gtest/gtest.h>
#include <random>

#include "fakes/gguf_writer.h"
#include "gguf/model_shape.h"

namespace llorch {
namespace {

Result<GgufHeader> read(std::span<const std::byte> bytes) {
  SpanSource source(bytes);
  return read_gguf_header(source);
}

// Gives its bytes a few at a time, as a pipe might.
class SlowSource final : public ByteSource {
 public:
  explicit SlowSource(std::span<const std::byte> bytes) : inner_(bytes) {}
  std::uint64_t size() const override { return inner_.size(); }
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> to) override {
    return inner_.read_at(offset, to.first(std::min<std::size_t>(to.size(), 3)));
  }

 private:
  SpanSource inner_;
};

class BrokenSource final : public ByteSource {
 public:
  std::uint64_t size() const override { return 1000; }
  Result<std::size_t> read_at(std::uint64_t, std::span<std::byte>) override {
    return fail(Code::internal, "input/output error");
  }
};

TEST(GgufHeader, ReadsMetadataAndPlacesTensors) {
  const auto file = tiny_model().file();
  const auto header = read(file);
  ASSERT_TRUE(header) << header.error().message;
  EXPECT_EQ(header->version, 3u);
  EXPECT_EQ(*header->find_string("general.architecture"), "llama");
  EXPECT_EQ(header->find_u32("llama.block_count"), 2u);
  EXPECT_EQ(header->find_u32("general.architecture"), std::nullopt);
  EXPECT_EQ(header->find_array("tokenizer.ggml.tokens")->strings[4], "a");
  EXPECT_EQ(header->find_array("tokenizer.ggml.token_type")->integers[3], 6);
  ASSERT_EQ(header->tensors.size(), 2u);
  EXPECT_EQ(header->tensors[0].offset, header->data_offset);
  EXPECT_EQ(header->tensors[1].offset, header->data_offset + 320);
  EXPECT_EQ(header->tensor_bytes, 384u);
  EXPECT_EQ(header->parameters, 96u);
  EXPECT_EQ(header->tensors[1].offset + header->tensors[1].bytes, file.size());
}

TEST(GgufHeader, IsTheSameWhenBytesComeAFewAtATime) {
  const auto file = tiny_model().file();
  SlowSource source(file);
  const auto header = read_gguf_header(source);
  ASSERT_TRUE(header);
  EXPECT_EQ(header->metadata.size(), read(file)->metadata.size());
}

TEST(GgufHeader, NeedsNoTensorDataInMemory) {
  const auto writer = tiny_model();
  const auto head = writer.header();
  SpanSource source(head, writer.file().size());
  EXPECT_TRUE(read_gguf_header(source));
}

TEST(GgufHeader, PassesOnADeviceError) {
  BrokenSource source;
  const auto header = read_gguf_header(source);
  ASSERT_FALSE(header);
  EXPECT_EQ(header.error().code, Code::internal);
  EXPECT_EQ(header.error().message, "input/output error");
}

// promise: R9, truncated
// clause: W-5
TEST(GgufHeader, RefusesATruncatedFileAtEveryByte) {
  const auto file = tiny_model().file();
  for (std::size_t size = 0; size < file.size(); ++size) {
    const auto header = read(std::span(file).first(size));
    ASSERT_FALSE(header) << size;
    EXPECT_EQ(header.error().code, Code::model_load_failed);
    EXPECT_NE(header.error().message.find("truncated"), std::string::npos)
        << size << ": " << header.error().message;
    EXPECT_FALSE(header.error().next.empty());
  }
}

// promise: R9, bit flips
TEST(GgufHeader, SurvivesBitFlips) {
  const auto file = tiny_model().file();
  std::mt19937 random(20'240'501);
  int refused = 0;
  for (int round = 0; round < 10'000; ++round) {
    auto bent = file;
    for (auto flips = 1 + random() % 4; flips > 0; --flips) {
      bent[random() % bent.size()] ^= static_cast<std::byte>(1u << random() % 8);
    }
    const auto header = read(bent);
    if (!header || !check_model(*header)) ++refused;
  }
  EXPECT_GT(refused, 5'000);  // most of a small file is header
}

// promise: R9, huge counts and offsets past the end
TEST(GgufHeader, RefusesWhatIsOutOfBounds) {
  constexpr std::uint32_t f32 = 0, q4_1 = 3, q4_2_removed = 4, q8_1_internal = 9;
  constexpr std::uint64_t huge = std::uint64_t{1} << 62;
  using Change = std::function<void(GgufWriter&)>;
  struct Case {
    const char* name;
    Change change;
    const char* says;
  };
  const Case cases[] = {
      {"version 1", [](auto& w) { w.version = 1; }, "version 1"},
      {"version 4", [](auto& w) { w.version = 4; }, "version 4"},
      {"big endian", [](auto& w) { w.version = 0x03000000; }, "big-endian"},
      {"key twice", [](auto& w) { w.u32("llama.block_count", 2); },
       "llama.block_count is there tw"},
      {"empty key", [](auto& w) { w.u32("", 2); }, "is empty"},
      {"NUL in a key", [](auto& w) { w.u32(std::string_view("a\0b", 3), 2); }, "control"},
      {"unknown value type", [](auto& w) { w.number("x", GgufType{13}, 1u); }, "unknown type 13"},
      {"array of arrays",
       [](auto& w) { w.template numbers<std::uint64_t>("x", GgufType::array, {1}); },
       "array of the"},
      {"array longer than the file",
       [](auto& w) { w.number("x", GgufType::array, std::array{0u, 4'000'000u, 0u}); },
       "truncated: 4000000 elements of x"},
      {"array of 2^32 elements",
       [](auto& w) { w.number("x", GgufType::array, std::array{0u, 0u, 1u}); },
       "x claims 4294967296 elements"},
      {"odd alignment", [](auto& w) { w.u32("general.alignment", 48); }, "alignment"},
      {"alignment of 0", [](auto& w) { w.u32("general.alignment", 0); }, "alignment"},
      {"alignment below 32", [](auto& w) { w.u32("general.alignment", 16); }, "alignment"},
      {"alignment of another type",
       [](auto& w) { w.number("general.alignment", GgufType::u64, std::uint64_t{32}); },
       "alignment"},
      {"tensor twice", [](auto& w) { w.tensor("t", f32, {1}, 4).tensor("t", f32, {1}, 4); },
       "t is there twice"},
      {"tensor name too long", [](auto& w) { w.tensor(std::string(64, 'n'), f32, {1}, 4); },
       "longer than 63"},
      {"no dimensions", [](auto& w) { w.tensor("t", f32, {}, 4); }, "0 dimensions"},
      {"5 dimensions", [](auto& w) { w.tensor("t", f32, {1, 1, 1, 1, 1}, 4); }, "5 dimensions"},
      {"empty dimension", [](auto& w) { w.tensor("t", f32, {4, 0}, 0); }, "empty"},
      {"shape overflows", [](auto& w) { w.tensor("t", f32, {huge, huge}, 4); }, "overflows"},
      {"bytes overflow", [](auto& w) { w.tensor("t", f32, {huge}, 4); }, "overflows"},
      {"negative dimension", [](auto& w) { w.tensor("t", f32, {~0ull}, 4); }, "overflows"},
      {"part of a block", [](auto& w) { w.tensor("t", q4_1, {33}, 40); }, "q4_1 blocks"},
      {"removed type", [](auto& w) { w.tensor("t", q4_2_removed, {32}, 4); }, "unknown type 4"},
      {"internal type", [](auto& w) { w.tensor("t", q8_1_internal, {32}, 36); }, "unknown type 9"},
      {"type far out", [](auto& w) { w.tensor("t", 0xffffffff, {32}, 4); }, "unknown type"},
      {"offset not aligned", [](auto& w) { w.tensor_at("t", f32, {1}, 4, 4); }, "expected 0"},
      {"offset past the end", [](auto& w) { w.tensor_at("t", f32, {1}, huge, 4); }, "expected 0"},
      {"offset leaves a gap", [](auto& w) { w.tensor_at("t", f32, {1}, 32, 4); }, "expected 0"},
      {"two at one offset",
       [](auto& w) { w.tensor("t", f32, {1}, 4).tensor_at("u", f32, {1}, 0, 4); }, "expected 32"},
      {"larger than the file", [](auto& w) { w.tensor("t", f32, {std::uint64_t{1} << 40}, 4); },
       "truncated: tensor t"}};
  for (const auto& [name, change, says] : cases) {
    SCOPED_TRACE(name);
    const auto header = read(tiny_model({}, change).file());
    ASSERT_FALSE(header);
    EXPECT_EQ(header.error().code, Code::model_load_failed);
    EXPECT_NE(header.error().message.find(says), std::string::npos) << header.error().message;
  }
}

// clause: W-5
TEST(GgufHeader, RefusesFalseCountsWithoutAllocatingThem) {
  struct Case {
    const char* name;
    std::size_t at;  // of the 8 bytes set to 2^40
    const char* says;
  };
  const Case cases[] = {{"tensors", 8, "tensors"},
                        {"keys", 16, "metadata keys"},
                        {"length of the first key", 24, "claims"}};
  for (const auto& [name, at, says] : cases) {
    SCOPED_TRACE(name);
    auto file = tiny_model().file();
    const std::uint64_t count = std::uint64_t{1} << 40;
    std::memcpy(file.data() + at, &count, sizeof count);
    const auto header = read(file);
    ASSERT_FALSE(header);
    EXPECT_NE(header.error().message.find(says), std::string::npos) << header.error().message;
  }
}

TEST(GgufHeader, SaysWhenAFileIsOfAnotherKind) {
  const std::string zip = "PK\x03\x04 and so on, for longer than any magic number";
  const auto header = read(std::as_bytes(std::span(zip)));
  ASSERT_FALSE(header);
  EXPECT_NE(header.error().message.find("no GGUF file"), std::string::npos);
}

TEST(RowBytes, CountsWholeBlocks) {
  EXPECT_EQ(row_bytes(*tensor_type("q4_1"), 64), 40u);
  EXPECT_EQ(row_bytes(*tensor_type("q4_1"), 33), std::nullopt);
  EXPECT_EQ(row_bytes(*tensor_type("f64"), std::uint64_t{1} << 62), std::nullopt);
  EXPECT_EQ(tensor_type("q8_1"), nullptr);
}

}  // namespace
}  // namespace llorch
