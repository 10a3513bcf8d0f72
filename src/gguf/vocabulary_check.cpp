#include "gguf/vocabulary_check.h"

#include <algorithm>
#include <fmt/format.h>
#include <string>
#include <unordered_set>

namespace llorch {
namespace {

constexpr std::int64_t byte_token = 6;  // LLAMA_TOKEN_TYPE_BYTE
constexpr std::string_view tokens_key = "tokenizer.ggml.tokens";

std::unexpected<Error> refuse(std::string why) {
  return fail(Code::model_load_failed, "model file: " + std::move(why),
              "download the model again from another source");
}

bool is_hex_byte(std::string_view text) {
  const auto is_hex = [](char c) { return std::string_view("0123456789ABCDEFabcdef").contains(c); };
  return text.size() == 6 && text.starts_with("<0x") && is_hex(text[3]) && is_hex(text[4]) &&
         text[5] == '>';
}

// llama.cpp asserts that texts and ids are one to one, and names empty texts itself.
Result<void> check_texts(const GgufArray& tokens) {
  std::unordered_set<std::string> seen;
  seen.reserve(tokens.strings.size());
  for (std::size_t id = 0; id < tokens.strings.size(); ++id) {
    std::string text = tokens.strings[id];
    if (text.empty()) text = fmt::format("[EMPTY_{}]", id);
    if (!seen.insert(std::move(text)).second) {
      return refuse(fmt::format("token {} has the text of another token", id));
    }
  }
  return {};
}

Result<void> check_parallel(const GgufHeader& header, std::string_view key, std::uint64_t count) {
  if (!header.metadata.contains(key)) return {};
  const GgufArray* const array = header.find_array(key);
  const bool is_scores = key.ends_with("scores");
  const bool typed =
      array && (array->element == GgufType::i32 || (is_scores && array->element == GgufType::f32));
  if (!typed) return refuse(fmt::format("{} has the wrong type", key));
  if (array->count != count) {
    return refuse(fmt::format("{} has {} elements for {} tokens", key, array->count, count));
  }
  return {};
}

// A byte token's text is parsed without a check when it is detokenised (token_to_byte).
Result<void> check_byte_tokens(const GgufHeader& header, const GgufArray& tokens) {
  const GgufArray* const types = header.find_array("tokenizer.ggml.token_type");
  for (std::size_t id = 0; types && id < types->integers.size(); ++id) {
    if (types->integers[id] == byte_token && !is_hex_byte(tokens.strings[id])) {
      return refuse(fmt::format("token {} is a byte whose text is not <0xHH>", id));
    }
  }
  return {};
}

Result<void> check_special_ids(const GgufHeader& header, std::uint64_t count) {
  for (const auto& [key, value] : header.metadata) {
    if (!key.starts_with("tokenizer.ggml.") || !key.ends_with("_token_id")) continue;
    const auto id = header.find_u32(key);
    if (!id) return refuse(key + " is no unsigned 32-bit number");
    if (*id >= count)
      return refuse(fmt::format("{} is {}, the vocabulary has {}", key, *id, count));
  }
  return {};
}

Result<void> check_merges(const GgufHeader& header, std::string_view model) {
  constexpr std::string_view key = "tokenizer.ggml.merges";
  const GgufArray* const merges = header.find_array(key);
  if (header.metadata.contains(key) && (!merges || merges->element != GgufType::string)) {
    return refuse(fmt::format("{} is no array of texts", key));
  }
  const std::string* const pre = header.find_string("tokenizer.ggml.pre");
  const bool wanted = (model == "gpt2" || model == "gemma4") && !(pre && *pre == "kimi-k2");
  if (wanted && !merges) return refuse(fmt::format("{} is missing", key));
  return {};
}

}  // namespace

Result<std::uint32_t> check_vocabulary(const GgufHeader& header) {
  const std::string* const model = header.find_string("tokenizer.ggml.model");
  if (!model) return refuse("tokenizer.ggml.model is missing");
  // rwkv and plamo2 build tables of their own from texts; they are out of what is checked here.
  constexpr std::string_view known[] = {"llama", "gpt2", "bert", "t5", "gemma4"};
  if (std::ranges::find(known, *model) == std::end(known)) {
    return refuse(fmt::format("tokenizer {} is not supported", *model));
  }
  const GgufArray* const tokens = header.find_array(tokens_key);
  if (!tokens || tokens->element != GgufType::string || tokens->count == 0) {
    return refuse(fmt::format("{} is missing or no array of texts", tokens_key));
  }
  if (auto ok = check_texts(*tokens); !ok) return fail(ok.error());
  for (const auto* key : {"tokenizer.ggml.scores", "tokenizer.ggml.token_type"}) {
    if (auto ok = check_parallel(header, key, tokens->count); !ok) return fail(ok.error());
  }
  if (auto ok = check_byte_tokens(header, *tokens); !ok) return fail(ok.error());
  if (auto ok = check_special_ids(header, tokens->count); !ok) return fail(ok.error());
  if (auto ok = check_merges(header, *model); !ok) return fail(ok.error());
  return static_cast<std::uint32_t>(tokens->count);
}

}  // namespace llorch
