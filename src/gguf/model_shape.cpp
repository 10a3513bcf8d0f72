#include "gguf/model_shape.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <utility>

#include "base/limits.h"
#include "gguf/vocabulary_check.h"

namespace llorch {
namespace {

// Architectures whose graph asserts that key, value and rope sizes are one (src/models/*.cpp).
constexpr std::string_view one_head_size[] = {
    "apertus",  "arcee",        "arctic",    "baichuan",   "chameleon",   "codeshell",
    "cogvlm",   "cohere2moe",   "dbrx",      "deci",       "deepseek",    "dots1",
    "dream",    "ernie4_5",     "exaone",    "exaone-moe", "exaone4",     "falcon",
    "granite",  "granite_swa",  "grok",      "grovemoe",   "hunyuan-moe", "hunyuan_vl",
    "hy_v3",    "internlm2",    "jais2",     "llada",      "llada-moe",   "llama",
    "llama4",   "maincoder",    "mellum",    "mistral3",   "olmo",        "olmo2",
    "olmoe",    "orion",        "paddleocr", "plamo",      "qwen2",       "qwen2moe",
    "qwen2vl",  "qwen3",        "qwen3moe",  "qwen3vl",    "qwen3vlmoe",  "rnd1",
    "seed_oss", "smallthinker", "smollm3",   "starcoder2", "talkie",      "xverse"};

// Architectures with layers, or all layers, without attention; the others divide by their heads.
// Source: src/llama-arch.cpp llm_arch_is_recurrent, llm_arch_is_hybrid; src/models/deci.cpp.
constexpr std::string_view mixed_layers[] = {
    "arwkv7",     "bailingmoe3",    "deci",   "deepseek4",  "falcon-h1",
    "glm5-next",  "granitehybrid",  "jamba",  "kimi-k3",    "kimi-linear",
    "lfm2",       "lfm2moe",        "mamba",  "mamba2",     "minimax-01",
    "nemotron_h", "nemotron_h_moe", "plamo2", "qwen35",     "qwen35moe",
    "qwen3next",  "qwen4exp",       "rwkv6",  "rwkv6qwen2", "rwkv7"};

// Reads one model's keys, which start with its architecture, and keeps the first broken rule.
class ShapeReader {
 public:
  explicit ShapeReader(const GgufHeader& header) : header_(header) {}

  Result<ModelShape> run() {
    const bool ok = read_names() && read_split() && read_sizes() && read_heads() && read_rope() &&
                    read_norms() && read_experts() && read_pooling() && read_vocabulary();
    if (!ok) return fail(error_.value_or(Error{}));
    shape_.parameters = header_.parameters;
    shape_.weights_bytes = header_.tensor_bytes;
    shape_.quantization = most_used_type();
    if (const auto* from = header_.find_string("llorch.requantized_from")) {
      shape_.requantized_from = *from;
    }
    return std::move(shape_);
  }

 private:
  bool refuse(std::string why, std::string next = "download the model again from another source") {
    error_ =
        fail(Code::model_load_failed, "model file: " + std::move(why), std::move(next)).error();
    return false;
  }

  std::string key(std::string_view name) const {
    return shape_.architecture + "." + std::string(name);
  }

  // Leaves `to` alone when the key is absent; a wrong type is what llama.cpp would refuse.
  bool optional_u32(const std::string& name, std::uint32_t& to) {
    if (!header_.metadata.contains(name)) return true;
    const auto value = header_.find_u32(name);
    if (!value) return refuse(name + " is no unsigned 32-bit number");
    to = *value;
    return true;
  }

  bool bounded_u32(std::string_view name, std::uint32_t max, std::uint32_t& to) {
    const std::string full = key(name);
    if (!header_.metadata.contains(full)) return refuse(full + " is missing");
    if (!optional_u32(full, to)) return false;
    if (to < 1 || to > max) return refuse(fmt::format("{} is {}, want 1..{}", full, to, max));
    return true;
  }

  // Absent is fine. Shape: finite, low <= value.
  bool check_number(const std::string& name, double low, bool above) {
    if (!header_.metadata.contains(name)) return true;
    const auto value = header_.find_f32(name);
    if (!value) return refuse(name + " is no 32-bit float");
    if (!std::isfinite(*value) || *value < low || (above && *value == low)) {
      return refuse(fmt::format("{} is {}", name, *value));
    }
    return true;
  }

  bool read_text(std::string_view name, std::string& to) {
    if (!header_.metadata.contains(name)) return true;
    const std::string* const text = header_.find_string(name);
    if (!text) return refuse(fmt::format("{} is no text", name));
    to = *text;
    return true;
  }

  bool read_names() {
    if (!read_text("general.architecture", shape_.architecture)) return false;
    const auto is_plain = [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_'; };
    if (shape_.architecture.empty() || !std::ranges::all_of(shape_.architecture, is_plain)) {
      return refuse("general.architecture is missing or no name");
    }
    return read_text("general.name", shape_.name) && read_text("general.license", shape_.license) &&
           read_text("tokenizer.chat_template", shape_.chat_template) &&
           read_text("tokenizer.ggml.model", shape_.tokenizer_model) &&
           read_text("tokenizer.ggml.pre", ignored_);
  }

  bool read_split() {
    const auto number = [&](std::string_view name, std::uint32_t& to) {
      const auto at = header_.metadata.find(name);
      if (at == header_.metadata.end()) return true;
      const auto* value = std::get_if<std::uint64_t>(&at->second.value);
      if (!value || at->second.type != GgufType::u16) {
        return refuse(fmt::format("{} is no unsigned 16-bit number", name));
      }
      to = static_cast<std::uint32_t>(*value);
      return true;
    };
    if (!number("split.no", shape_.split_number) || !number("split.count", shape_.split_count)) {
      return false;
    }
    shape_.split_count = std::max(shape_.split_count, 1u);
    if (shape_.split_number >= shape_.split_count) {
      return refuse(fmt::format("split.no is {} of {}", shape_.split_number, shape_.split_count));
    }
    if (shape_.split_number != 0) {
      return refuse(fmt::format("it is part {} of a split model", shape_.split_number + 1),
                    "name the first part, …-00001-of-…");
    }
    if (header_.tensors.empty()) return refuse("it holds no tensors", "use the model's own file");
    return true;
  }

  bool read_sizes() {
    return bounded_u32("context_length", limits::model_context_max, shape_.context_tokens) &&
           bounded_u32("embedding_length", limits::model_width_max, shape_.embedding_size) &&
           bounded_u32("block_count", limits::model_layers_max, shape_.layers) &&
           read_next_token_layers() && read_feed_forward();
  }

  bool read_next_token_layers() {
    std::uint32_t extra = 0;
    if (!optional_u32(key("nextn_predict_layers"), extra)) return false;
    return extra < shape_.layers || refuse(key("nextn_predict_layers") + " takes every layer");
  }

  bool read_feed_forward() {
    std::vector<std::uint32_t> sizes(shape_.layers, 0);
    if (!per_layer("feed_forward_length", limits::model_width_max, sizes)) return false;
    shape_.feed_forward_size = *std::ranges::max_element(sizes);
    return true;
  }

  // One number for all layers, or an array with one a layer. Absent: `to` stays.
  bool per_layer(std::string_view name, std::uint32_t max, std::vector<std::uint32_t>& to) {
    const std::string full = key(name);
    if (!header_.metadata.contains(full)) return true;
    if (const auto one = header_.find_u32(full)) {
      if (*one > max) return refuse(fmt::format("{} is {}, at most {}", full, *one, max));
      std::ranges::fill(to, *one);
      return true;
    }
    const GgufArray* const array = header_.find_array(full);
    if (!array || (array->element != GgufType::u32 && array->element != GgufType::i32)) {
      return refuse(full + " is no 32-bit number or array of such");
    }
    if (array->count != shape_.layers) {
      return refuse(
          fmt::format("{} has {} elements for {} layers", full, array->count, shape_.layers));
    }
    for (std::size_t i = 0; i < to.size(); ++i) {
      const std::int64_t value = array->integers[i];
      if (value < 0 || value > max) return refuse(fmt::format("{}[{}] is {}", full, i, value));
      to[i] = static_cast<std::uint32_t>(value);
    }
    return true;
  }

  bool read_heads() {
    shape_.heads.assign(shape_.layers, 0);
    if (!per_layer("attention.head_count", limits::model_heads_max, shape_.heads)) return false;
    shape_.kv_heads = shape_.heads;
    if (!per_layer("attention.head_count_kv", limits::model_heads_max, shape_.kv_heads)) {
      return false;
    }
    const bool all_attend =
        std::ranges::find(mixed_layers, shape_.architecture) == std::end(mixed_layers);
    for (std::size_t i = 0; i < shape_.heads.size(); ++i) {
      if (all_attend && (shape_.heads[i] == 0 || shape_.kv_heads[i] == 0)) {
        return refuse(
            fmt::format("{} is missing or 0 for layer {}", key("attention.head_count"), i));
      }
      if (shape_.kv_heads[i] != 0 && shape_.heads[i] % shape_.kv_heads[i] != 0) {
        return refuse(fmt::format("{} heads of layer {} do not share {} key heads evenly",
                                  shape_.heads[i], i, shape_.kv_heads[i]));
      }
    }
    return read_head_sizes();
  }

  bool read_head_sizes() {
    const std::uint32_t heads = *std::ranges::max_element(shape_.heads);
    if (heads == 0) return true;
    const bool given = header_.metadata.contains(key("attention.key_length")) &&
                       header_.metadata.contains(key("attention.value_length"));
    // llama.cpp divides by the first layer's heads.
    if (!given && (shape_.heads[0] == 0 || shape_.embedding_size % shape_.heads[0] != 0)) {
      return refuse(fmt::format("embedding length {} is not divided by {} heads",
                                shape_.embedding_size, shape_.heads[0]));
    }
    if (!given) shape_.key_size = shape_.value_size = shape_.embedding_size / shape_.heads[0];
    if (!optional_u32(key("attention.key_length"), shape_.key_size) ||
        !optional_u32(key("attention.value_length"), shape_.value_size)) {
      return false;
    }
    for (const std::uint32_t size : {shape_.key_size, shape_.value_size}) {
      if (size == 0 || size > limits::model_width_max / 16) {
        return refuse(fmt::format("a head's size of {} is not plausible", size));
      }
    }
    return true;
  }

  bool read_rope() {
    std::uint32_t dimensions = shape_.key_size;
    if (!optional_u32(key("rope.dimension_count"), dimensions)) return false;
    if (dimensions > shape_.key_size || dimensions % 2 != 0) {
      return refuse(fmt::format("{} is {} for heads of {}", key("rope.dimension_count"), dimensions,
                                shape_.key_size));
    }
    if (std::ranges::find(one_head_size, shape_.architecture) != std::end(one_head_size) &&
        (shape_.key_size != shape_.value_size || shape_.key_size != dimensions)) {
      return refuse(fmt::format("key, value and rope sizes {}, {}, {} differ", shape_.key_size,
                                shape_.value_size, dimensions));
    }
    std::string scaling = "linear";
    if (!read_text(key("rope.scaling.type"), scaling)) return false;
    constexpr std::string_view known[] = {"none", "linear", "yarn", "longrope"};
    if (std::ranges::find(known, scaling) == std::end(known)) {
      return refuse(fmt::format("{} {} is not known", key("rope.scaling.type"), scaling));
    }
    return check_number(key("rope.freq_base"), 0, true) &&
           check_number(key("rope.scaling.factor"), 0, false) &&
           check_number(key("rope.scale_linear"), 0, false);
  }

  bool read_norms() {
    return check_number(key("attention.layer_norm_epsilon"), 0, false) &&
           check_number(key("attention.layer_norm_rms_epsilon"), 0, false);
  }

  // The assertions of llama_model_base::load_hparams, as refusals.
  bool read_experts() {
    std::uint32_t experts = 0, groups = 0, groups_used = 0;
    std::vector<std::uint32_t> used(shape_.layers, 0);
    if (!optional_u32(key("expert_count"), experts) ||
        !optional_u32(key("expert_group_count"), groups) ||
        !optional_u32(key("expert_group_used_count"), groups_used) ||
        !per_layer("expert_used_count", limits::model_experts_max, used)) {
      return false;
    }
    const std::uint32_t used_max = *std::ranges::max_element(used);
    const bool none = experts == 0 && used_max == 0 && groups == 0;
    const bool some = experts > 0 && experts <= limits::model_experts_max && used_max > 0 &&
                      used_max <= experts && groups < experts;
    if (!none && !some) {
      return refuse(fmt::format("{} experts with {} used in {} groups", experts, used_max, groups));
    }
    if (groups > 1 && (experts % groups != 0 || groups_used == 0 || groups_used >= groups)) {
      return refuse(
          fmt::format("{} experts in {} groups with {} used", experts, groups, groups_used));
    }
    return true;
  }

  bool read_pooling() {
    std::uint32_t pooling = 0;
    if (!optional_u32(key("pooling_type"), pooling)) return false;
    if (pooling > 4) return refuse(fmt::format("{} is {}", key("pooling_type"), pooling));
    const auto causal = header_.find_bool(key("attention.causal"));
    shape_.embeddings_only = pooling != 0 || (causal && !*causal);
    return true;
  }

  bool read_vocabulary() {
    auto tokens = check_vocabulary(header_);
    if (!tokens) {
      error_ = std::move(tokens.error());
      return false;
    }
    shape_.vocabulary_tokens = *tokens;
    const auto* const merges = header_.find_array("tokenizer.ggml.merges");
    shape_.vocabulary_merges = merges ? merges->count : 0;
    const GgufTensor* const table = header_.find_tensor("token_embd.weight");
    // In a split model the table may lie in a later part.
    if (!table) return shape_.split_count > 1 || refuse("token_embd.weight is missing");
    if (table->shape[0] != shape_.embedding_size || table->shape[1] != *tokens) {
      return refuse(fmt::format("token_embd.weight is {} x {} for {} dimensions and {} tokens",
                                table->shape[0], table->shape[1], shape_.embedding_size, *tokens));
    }
    return true;
  }

  std::string most_used_type() const {
    std::map<std::string_view, std::uint64_t> bytes;
    for (const GgufTensor& tensor : header_.tensors) bytes[tensor.type->name] += tensor.bytes;
    const auto most = std::ranges::max_element(bytes, {}, [](const auto& e) { return e.second; });
    return std::string(most->first);
  }

  const GgufHeader& header_;
  ModelShape shape_;
  std::string ignored_;
  std::optional<Error> error_;
};

}  // namespace

Result<ModelShape> check_model(const GgufHeader& header) {
  return ShapeReader(header).run();
}

}  // namespace llorch
