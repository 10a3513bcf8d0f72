// The bodies of /v1/models, /v1/embeddings, /tokenize and /detokenize.
#include <bit>

#include "protocol/json_text.h"
#include "protocol/utf8.h"
#include "protocol/worker_api.h"

namespace llorch {
namespace {

// Source: RFC 4648 §4, with padding.
std::string base64_of(std::string_view bytes) {
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t taken = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      group = (group << 8) | (k < taken ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      out += k <= taken ? digits[(group >> (18 - 6 * k)) & 63] : '=';
    }
  }
  return out;
}

// OpenAI's base64 form: the floats as little-endian 32-bit IEEE 754, one after the other.
std::string float_bytes(const std::vector<float>& vector) {
  std::string bytes;
  bytes.reserve(vector.size() * 4);
  for (const float value : vector) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>((word >> shift) & 0xFF);
  }
  return bytes;
}

void append_layout(std::string& out, const LossyLayout& layout) {
  JsonObjectWriter row(out);
  row.string("type", layout.type).string("from", layout.from);
  if (layout.perplexity > 0) {
    row.number("perplexity", layout.perplexity)
        .number("perplexity_original", layout.perplexity_original)
        .number("rise_percent", layout.rise_percent)
        .integer("tokens", layout.tokens);
  }
  row.end();
}

void append_model(std::string& out, const ModelEntry& model) {
  JsonObjectWriter row(out);
  row.string("id", model.id)
      .string("object", "model")
      .integer("created", model.created)
      .string("owned_by", "llorch")
      .string("state", model.state);
  JsonObjectWriter meta(row.key("meta"));
  meta.string("architecture", model.architecture)
      .integer("n_ctx", model.context_tokens)
      .integer("n_vocab", model.vocabulary_tokens)
      .integer("n_embd", model.embedding_size)
      .integer("n_params", model.parameters)
      .boolean("embeddings_only", model.embeddings_only);
  if (!model.quantization.empty()) meta.string("quantization", model.quantization);
  if (model.optimized) append_layout(meta.key("optimized"), *model.optimized);
  meta.end();
  row.end();
}

void append_piece(std::string& out, Token token, const std::string& piece) {
  JsonObjectWriter row(out);
  row.integer("id", token);
  if (is_utf8(piece)) {
    row.string("piece", piece);
  } else {
    append_json_list(row.key("piece"), piece,
                     [&](char c) { append_json_int(out, static_cast<unsigned char>(c)); });
  }
  row.end();
}

}  // namespace

std::string encode_models(std::span<const ModelEntry> models) {
  std::string out;
  JsonObjectWriter row(out);
  row.string("object", "list");
  append_json_list(row.key("data"), models,
                   [&](const ModelEntry& model) { append_model(out, model); });
  row.end();
  return out;
}

std::string encode_model(const ModelEntry& model) {
  std::string out;
  append_model(out, model);
  return out;
}

std::string encode_embeddings(std::span<const std::vector<float>> vectors, bool base64,
                              std::string_view model, std::int64_t prompt_tokens) {
  std::string out;
  JsonObjectWriter row(out);
  row.string("object", "list");
  std::int64_t index = 0;
  append_json_list(row.key("data"), vectors, [&](const std::vector<float>& vector) {
    JsonObjectWriter entry(out);
    entry.string("object", "embedding").integer("index", index++);
    if (base64) {
      entry.string("embedding", base64_of(float_bytes(vector)));
    } else {
      append_json_list(entry.key("embedding"), vector,
                       [&](float value) { append_json_float(out, value); });
    }
    entry.end();
  });
  row.string("model", model);
  JsonObjectWriter(row.key("usage"))
      .integer("prompt_tokens", prompt_tokens)
      .integer("total_tokens", prompt_tokens)
      .end();
  row.end();
  return out;
}

std::string encode_tokenized(std::span<const Token> tokens, std::span<const std::string> pieces,
                             std::int64_t context_tokens) {
  std::string out;
  JsonObjectWriter row(out);
  std::size_t index = 0;
  append_json_list(row.key("tokens"), tokens, [&](Token token) {
    if (pieces.empty()) {
      append_json_int(out, token);
    } else {
      append_piece(out, token, pieces[index++]);
    }
  });
  row.integer("count", static_cast<std::int64_t>(tokens.size()))
      .integer("max_model_len", context_tokens)
      .end();
  return out;
}

std::string encode_detokenized(std::string_view text) {
  std::string out;  // `content` is llama-server's name, `prompt` vLLM's
  JsonObjectWriter(out).string("content", text).string("prompt", text).end();
  return out;
}

}  // namespace llorch
