#include "gguf/model_shape.h"

#include <functional>
#include <gtest/gtest.h>
#include <limits>

#include "fakes/gguf_writer.h"

namespace llorch {
namespace {

using Change = std::function<void(GgufWriter&)>;

Result<ModelShape> check(const GgufWriter& writer) {
  const auto file = writer.file();
  SpanSource source(file);
  const auto header = read_gguf_header(source);
  if (!header) return fail(header.error());
  return check_model(*header);
}

TEST(CheckModel, GivesTheShapeOfASoundModel) {
  const auto shape = check(tiny_model());
  ASSERT_TRUE(shape) << shape.error().message;
  EXPECT_EQ(shape->architecture, "llama");
  EXPECT_EQ(shape->context_tokens, 128u);
  EXPECT_EQ(shape->heads, (std::vector<std::uint32_t>{4, 4}));
  EXPECT_EQ(shape->kv_heads, (std::vector<std::uint32_t>{2, 2}));
  EXPECT_EQ(shape->key_size, 4u);
  EXPECT_EQ(shape->value_size, 4u);
  EXPECT_EQ(shape->vocabulary_tokens, 5u);
  EXPECT_EQ(shape->weights_bytes, 384u);
  EXPECT_EQ(shape->quantization, "f32");
  EXPECT_FALSE(shape->embeddings_only);
}

TEST(CheckModel, TakesSoundVariants) {
  struct Case {
    const char* name;
    std::string_view without;
    Change change;
  };
  const Case cases[] = {
      {"heads per layer", "llama.attention.head_count_kv",
       [](auto& w) {
         w.template numbers<std::uint32_t>("llama.attention.head_count_kv", GgufType::u32, {2, 1});
       }},
      {"key heads absent", "llama.attention.head_count_kv", [](auto&) {}},
      {"experts", "",
       [](auto& w) { w.u32("llama.expert_count", 8).u32("llama.expert_used_count", 2); }},
      {"scores as integers", "tokenizer.ggml.scores",
       [](auto& w) {
         w.template numbers<std::int32_t>("tokenizer.ggml.scores", GgufType::i32, {0, 0, 0, 0, 0});
       }},
      {"one empty token", "tokenizer.ggml.tokens",
       [](auto& w) { w.texts("tokenizer.ggml.tokens", {"", "<s>", "</s>", "<0x0A>", "a"}); }},
      {"first part of a split, table elsewhere", "token_embd.weight",
       [](auto& w) {
         w.number("split.count", GgufType::u16, std::uint16_t{2});
         w.number("split.no", GgufType::u16, std::uint16_t{0});
       }},
      {"yarn", "", [](auto& w) { w.text("llama.rope.scaling.type", "yarn"); }}};
  for (const auto& [name, without, change] : cases) {
    SCOPED_TRACE(name);
    const auto shape = check(tiny_model(without, change));
    EXPECT_TRUE(shape) << shape.error().message;
  }
}

TEST(CheckModel, TakesAnEmbeddingModelForWhatItIs) {
  const auto shape = check(tiny_model({}, [](auto& w) { w.u32("llama.pooling_type", 1); }));
  ASSERT_TRUE(shape);
  EXPECT_TRUE(shape->embeddings_only);
}

// promise: R9. Each of these makes llama.cpp assert, divide by zero or read out of bounds, or
// would give the engine a size it must not trust.
TEST(CheckModel, RefusesWhatTheEngineWouldTrust) {
  struct Case {
    const char* name;
    std::string_view without;
    Change change;
    const char* says;
  };
  const auto u32 = [](const char* key, std::uint32_t value) {
    return [=](GgufWriter& w) { w.u32(key, value); };
  };
  const auto f32 = [](const char* key, float value) {
    return [=](GgufWriter& w) { w.f32(key, value); };
  };
  const auto text = [](const char* key, std::string_view value) {
    return [=](GgufWriter& w) { w.text(key, value); };
  };
  const auto tokens = [](std::vector<std::string> values) {
    return [=](GgufWriter& w) { w.texts("tokenizer.ggml.tokens", values); };
  };
  const auto none = [](GgufWriter&) {};
  constexpr const char* heads = "llama.attention.head_count";
  constexpr const char* kv_heads = "llama.attention.head_count_kv";
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  const Case cases[] = {
      {"no architecture", "general.architecture", none, "general.architecture"},
      {"architecture with a NUL", "general.architecture",
       text("general.architecture", std::string_view("llama\0x", 7)), "general.architecture"},
      {"no context length", "llama.context_length", none, "context_length is missing"},
      {"context length as text", "llama.context_length", text("llama.context_length", "128"),
       "no unsigned"},
      {"context of 0", "llama.context_length", u32("llama.context_length", 0), "want 1.."},
      {"embedding of 0", "llama.embedding_length", u32("llama.embedding_length", 0), "want 1.."},
      {"no layer", "llama.block_count", u32("llama.block_count", 0), "want 1..512"},
      {"513 layers", "llama.block_count", u32("llama.block_count", 513), "want 1..512"},
      {"only next-token layers", "", u32("llama.nextn_predict_layers", 2), "every layer"},
      {"no heads", heads, none, "missing or 0"},
      {"0 heads", heads, u32(heads, 0), "missing or 0"},
      {"no key heads", kv_heads, u32(kv_heads, 0), "missing or 0"},
      {"no heads, said to be recurrent", heads, u32("llama.ssm.state_size", 16), "missing or 0"},
      {"a layer without key heads", kv_heads,
       [](auto& w) { w.template numbers<std::uint32_t>(kv_heads, GgufType::u32, {2, 0}); },
       "layer 1"},
      {"too many heads", heads, u32(heads, 100'000), "at most"},
      {"heads do not divide", heads, u32(heads, 3), "heads"},
      {"key heads do not divide", kv_heads, u32(kv_heads, 3), "evenly"},
      {"heads for other layers", kv_heads,
       [](auto& w) { w.template numbers<std::uint32_t>(kv_heads, GgufType::u32, {2, 2, 2}); },
       "3 elements for 2 layers"},
      {"negative heads", kv_heads,
       [](auto& w) { w.template numbers<std::int32_t>(kv_heads, GgufType::i32, {2, -1}); },
       "is -1"},
      {"heads of size 0", "", [](auto& w) { w.u32("llama.attention.key_length", 0); },
       "not plausible"},
      {"value size differs", "", u32("llama.attention.value_length", 8), "differ"},
      {"rope larger than a head", "", u32("llama.rope.dimension_count", 6), "for heads of 4"},
      {"odd rope", "", u32("llama.rope.dimension_count", 3), "for heads of 4"},
      {"rope differs", "", u32("llama.rope.dimension_count", 2), "differ"},
      {"unknown rope scaling", "", text("llama.rope.scaling.type", "magic"), "magic is not known"},
      {"rope base of 0", "", f32("llama.rope.freq_base", 0), "freq_base"},
      {"negative epsilon", "", f32("llama.attention.layer_norm_rms_epsilon", -1), "epsilon"},
      {"epsilon no number", "", f32("llama.attention.layer_norm_rms_epsilon", nan), "epsilon"},
      {"experts of which none is used", "", u32("llama.expert_count", 8), "8 experts with 0"},
      {"experts used of none", "", u32("llama.expert_used_count", 2), "0 experts with 2"},
      {"too many experts", "",
       [](auto& w) { w.u32("llama.expert_count", 2'000).u32("llama.expert_used_count", 2); },
       "2000 experts"},
      {"unknown pooling", "", u32("llama.pooling_type", 9), "pooling_type"},
      {"no tokenizer", "tokenizer.ggml.model", none, "tokenizer.ggml.model"},
      {"unknown tokenizer", "tokenizer.ggml.model", text("tokenizer.ggml.model", "abc"), "abc"},
      {"gpt2 without merges", "tokenizer.ggml.model", text("tokenizer.ggml.model", "gpt2"),
       "merges is missing"},
      {"no tokens", "tokenizer.ggml.tokens", none, "tokens is missing"},
      {"token twice", "tokenizer.ggml.tokens", tokens({"<unk>", "<s>", "a", "<0x0A>", "a"}),
       "token 4"},
      {"token named like an empty one", "tokenizer.ggml.tokens",
       tokens({"[EMPTY_4]", "<s>", "</s>", "<0x0A>", ""}), "token 4"},
      {"byte token of no byte", "tokenizer.ggml.tokens", tokens({"<unk>", "<s>", "</s>", "x", "a"}),
       "token 3 is a byte"},
      {"fewer scores than tokens", "tokenizer.ggml.scores",
       [](auto& w) { w.template numbers<float>("tokenizer.ggml.scores", GgufType::f32, {0, 0}); },
       "2 elements for 5"},
      {"types as text", "tokenizer.ggml.token_type",
       [](auto& w) { w.texts("tokenizer.ggml.token_type", {"a", "b", "c", "d", "e"}); }, "type"},
      {"end token outside", "", u32("tokenizer.ggml.eos_token_id", 5), "eos_token_id is 5"},
      {"another number of rows", "tokenizer.ggml.tokens",
       tokens({"<unk>", "<s>", "</s>", "<0x0A>"}), "4 tokens"},
      {"no table", "token_embd.weight", none, "token_embd.weight is missing"},
      {"second part of a split", "",
       [](auto& w) {
         w.number("split.count", GgufType::u16, std::uint16_t{2});
         w.number("split.no", GgufType::u16, std::uint16_t{1});
       },
       "part 2 of a split"},
      {"part 3 of 2", "",
       [](auto& w) {
         w.number("split.count", GgufType::u16, std::uint16_t{2});
         w.number("split.no", GgufType::u16, std::uint16_t{2});
       },
       "split.no is 2 of 2"}};
  for (const auto& [name, without, change, says] : cases) {
    SCOPED_TRACE(name);
    const auto shape = check(tiny_model(without, change));
    ASSERT_FALSE(shape);
    EXPECT_EQ(shape.error().code, Code::model_load_failed);
    EXPECT_NE(shape.error().message.find(says), std::string::npos) << shape.error().message;
    EXPECT_FALSE(shape.error().next.empty());
  }
}

}  // namespace
}  // namespace llorch
