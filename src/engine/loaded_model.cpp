#include "engine/loaded_model.h"

#include <../src/llama-ext.h>  // as llama.cpp's common library includes it
#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <thread>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "engine/calibration.h"
#include "engine/library.h"
#include "engine/model_files.h"
#include "gguf/memory_estimate.h"
#include "sys/host.h"

namespace llorch {
namespace {

constexpr std::int64_t context_tokens_default_max = 8192;  // a longer one is asked for by name
constexpr std::int32_t slots_default = 4;

Result<ggml_backend_dev_t> find_device(const EngineOptions& options) {
  std::int32_t index = 0;
  for (std::size_t i = 0; i < ggml_backend_dev_count(); ++i) {
    const auto device = ggml_backend_dev_get(i);
    if (backend_name(device) != options.backend) continue;
    if (ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_ACCEL) continue;
    if (index++ == options.gpu.value_or(0)) return device;
  }
  const auto why =
      index == 0
          ? "this build of llorch-candled has no " + options.backend + " device here"
          : fmt::format("there is no device {}, only 0..{}", options.gpu.value_or(0), index - 1);
  return fail(Code::backend_error, "backend " + options.backend + ": " + why,
              "llorch-pool backends list");
}

std::string meta(const llama_model* model, const std::string& key) {
  std::array<char, 256> text{};
  const auto size = llama_model_meta_val_str(model, key.c_str(), text.data(), text.size());
  return size < 0 ? std::string{} : std::string(text.data());
}

void read_number(const llama_model* model, const char* key, auto& value) {
  const auto text = meta(model, key);
  if (text.empty()) return;
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  if (end != text.c_str()) value = static_cast<std::remove_reference_t<decltype(value)>>(number);
}

// The file's own advice, else what llama-server uses.
SamplingDefaults sampling_defaults(const llama_model* model) {
  SamplingDefaults chain{.temperature = 0.8, .top_p = 0.95, .min_p = 0.05, .top_k = 40};
  read_number(model, "general.sampling.temp", chain.temperature);
  read_number(model, "general.sampling.top_p", chain.top_p);
  read_number(model, "general.sampling.min_p", chain.min_p);
  read_number(model, "general.sampling.top_k", chain.top_k);
  read_number(model, "general.sampling.penalty_repeat", chain.repetition_penalty);
  return chain;
}

// Of a file's pooling type: none named, or 0 = none.
bool pools_nothing(const std::string& pooling) {
  return pooling.empty() || pooling == "0";
}

ModelCard describe(const llama_model* model, const EngineOptions& options,
                   ggml_backend_dev_t device) {
  ModelCard card;
  card.architecture = meta(model, "general.architecture");
  std::array<char, 128> text{};
  llama_model_desc(model, text.data(), text.size());
  card.description = text.data();
  card.backend = options.backend;
  card.device = ggml_backend_dev_description(device);
  card.train_context_tokens = llama_model_n_ctx_train(model);
  card.embedding_size = llama_model_n_embd_out(model);
  card.parameters = static_cast<std::int64_t>(llama_model_n_params(model));
  card.sampling = sampling_defaults(model);
  const auto& arch = card.architecture;
  card.embeddings_only = !llama_model_has_decoder(model) ||
                         meta(model, arch + ".attention.causal") == "false" ||
                         !pools_nothing(meta(model, arch + ".pooling_type"));
  return card;
}

// Source: llama.cpp's own --cache-type-k.
Result<ggml_type> kv_type(const std::string& name) {
  constexpr std::array types = {GGML_TYPE_F16,  GGML_TYPE_F32,  GGML_TYPE_BF16,
                                GGML_TYPE_Q8_0, GGML_TYPE_Q5_1, GGML_TYPE_Q5_0,
                                GGML_TYPE_Q4_1, GGML_TYPE_Q4_0, GGML_TYPE_IQ4_NL};
  if (name.empty()) return GGML_TYPE_F16;
  const auto found = std::ranges::find(types, name, ggml_type_name);
  if (found != types.end()) return *found;
  return fail(Code::invalid_request, "kv_type '" + name + "': llama.cpp has no such cache",
              "one of f16, f32, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, iq4_nl");
}

MemoryPlan plan_of(const ModelCard& card, const EngineOptions& options) {
  MemoryPlan plan;
  plan.slots = static_cast<std::uint32_t>(card.slots_total);
  plan.context_tokens = static_cast<std::uint64_t>(card.context_tokens);
  plan.batch_tokens = static_cast<std::uint32_t>(options.batch_tokens_max);
  plan.flash_attention = options.flash_attention.value_or(true);
  if (!options.kv_type.empty()) plan.key_type = plan.value_type = options.kv_type;
  return plan;
}

// What lies on the device: of main memory all that the process takes.
std::uint64_t needed_bytes(const MemoryEstimate& estimate, const EngineOptions& options) {
  return estimate.total_bytes - (options.backend == "cpu" ? 0 : estimate.process_bytes);
}

Result<void> check_slots(const ModelCard& card) {
  if (card.slots_total >= 1 && card.slots_total <= static_cast<std::int32_t>(limits::slots_max)) {
    return {};
  }
  return fail(Code::invalid_request,
              fmt::format("slots {}: want 1..{}", card.slots_total, limits::slots_max));
}

// Slots and context that fit: what was asked for exactly, or as much of the default as there is
// room for. Errors: insufficient_memory, invalid_request.
Result<void> choose_size(const EngineOptions& options, const ModelShape& shape,
                         std::uint64_t memory_bytes, ModelCard& card) {
  const auto trained = std::max<std::int64_t>(card.train_context_tokens, 256);
  card.context_tokens = options.ctx_tokens.value_or(std::min(trained, context_tokens_default_max));
  card.slots_total = options.slots.value_or(slots_default);
  if (const auto ok = check_slots(card); !ok) return ok;
  auto estimate = estimate_memory(shape, plan_of(card, options));
  if (!estimate) return fail(estimate.error());
  const auto fits_now = [&] {
    estimate = estimate_memory(shape, plan_of(card, options));
    return needed_bytes(*estimate, options) + limits::memory_reserve_bytes <= memory_bytes;
  };
  while (!options.slots && card.slots_total > 1 && !fits_now()) card.slots_total /= 2;
  while (!options.ctx_tokens && card.context_tokens > 1024 && !fits_now()) {
    card.context_tokens /= 2;
  }
  const bool fit = fits_now();
  card.memory_bytes = static_cast<std::int64_t>(estimate->total_bytes);
  if (fit) return {};
  constexpr double gib = 1024.0 * 1024 * 1024;
  return fail(
      Code::insufficient_memory,
      fmt::format("{} needs about {:.1f} GiB with {} slots of {} tokens, {:.1f} GiB are "
                  "free",
                  options.model_path, static_cast<double>(needed_bytes(*estimate, options)) / gib,
                  card.slots_total, card.context_tokens, static_cast<double>(memory_bytes) / gib),
      "a smaller --ctx-tokens or --slots, or a smaller model");
}

Result<ContextHandle> make_context(LoadedModel& loaded, const EngineOptions& options) {
  const auto slots = static_cast<std::uint32_t>(loaded.card.slots_total);
  auto params = stream_params(loaded, slots, static_cast<std::uint32_t>(loaded.card.context_tokens),
                              loaded.batch_tokens_max, loaded.threads);
  for (const bool flash : {true, false}) {
    if (options.flash_attention && *options.flash_attention != flash) continue;
    params.flash_attn_type = flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    ContextHandle context(llama_init_from_model(loaded.model.get(), params));
    if (!context) continue;
    loaded.card.flash_attention = flash;
    loaded.card.layout = "streams";
    loaded.card.context_tokens = llama_n_ctx_seq(context.get());
    return context;
  }
  return fail(Code::insufficient_memory,
              fmt::format("no context of {} slots x {} tokens could be made", slots,
                          loaded.card.context_tokens),
              "a smaller --ctx-tokens or --slots");
}

// Whether llama.cpp will copy most weights into another order, for kernels that want them so:
// mapped as well, they would be there twice. Source: ggml-cpu/repack.cpp.
bool is_repacked(const ModelShape& shape) {
  constexpr std::array types = {"q4_0", "q4_K", "q2_K", "iq4_nl", "mxfp4"};
  return std::ranges::find(types, shape.quantization) != types.end();
}

Result<ModelShape> read_shape(const EngineOptions& options) {
  std::error_code unreadable;
  if (!std::filesystem::is_regular_file(options.model_path, unreadable)) {
    return fail(Code::not_found, "model file " + options.model_path + ": there is no such file",
                "llorch-pool models catalog");
  }
  const auto files = make_file_system();
  return read_model_files(*files, options.model_path);
}

Result<ModelHandle> open_model(const EngineOptions& options, const ModelShape& shape,
                               ggml_backend_dev_t device,
                               const std::function<void(double)>& progress) {
  const bool cpu = options.backend == "cpu";
  std::array<ggml_backend_dev_t, 2> devices{cpu ? nullptr : device, nullptr};
  auto params = llama_model_default_params();
  params.devices = devices.data();
  params.split_mode = LLAMA_SPLIT_MODE_NONE;
  params.load_mode = cpu && is_repacked(shape) ? LLAMA_LOAD_MODE_NONE : LLAMA_LOAD_MODE_AUTO;
  params.n_gpu_layers = cpu ? 0 : options.gpu_layers.value_or(-1);
  params.progress_callback = [](float done, void* told) {
    (*static_cast<const std::function<void(double)>*>(told))(static_cast<double>(done));
    return true;
  };
  params.progress_callback_user_data = const_cast<std::function<void(double)>*>(&progress);
  ModelHandle model(llama_model_load_from_file(options.model_path.c_str(), params));
  if (!model) {
    return fail(Code::model_load_failed,
                "model file " + options.model_path + ": llama.cpp cannot load it (see the log)",
                "llorch-pool models verify ID, with the model's id of llorch-pool models catalog");
  }
  return model;
}

// From here on what is there counts, not what was thought of it.
// Source: llama.cpp's common/fit.cpp asks in the same way.
void count_memory(LoadedModel& loaded, const ModelShape& shape, const EngineOptions& options) {
  std::size_t weights = 0;
  std::size_t kv = 0;
  std::size_t compute = 0;
  for (const auto& [type, bytes] : llama_get_memory_breakdown(loaded.context.get())) {
    weights += bytes.model;
    kv += bytes.context;
    compute += bytes.compute;
  }
  const auto process = estimate_memory(shape, plan_of(loaded.card, options))->process_bytes;
  loaded.card.memory_bytes = static_cast<std::int64_t>(weights + kv + compute + process);
  log_event(LogLevel::info, "engine", "memory",
            {{"weights_bytes", static_cast<std::int64_t>(weights)},
             {"kv_bytes", static_cast<std::int64_t>(kv)},
             {"compute_bytes", static_cast<std::int64_t>(compute)},
             {"process_bytes", static_cast<std::int64_t>(process)}});
}

std::uint64_t memory_free(const EngineOptions& options, ggml_backend_dev_t device) {
  if (options.backend == "cpu") return read_host_facts().memory_available_bytes;
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  ggml_backend_dev_memory(device, &free_bytes, &total_bytes);
  return free_bytes;
}

}  // namespace

llama_context_params stream_params(const LoadedModel& loaded, std::uint32_t slots,
                                   std::uint32_t context_tokens, std::int32_t batch_tokens,
                                   std::int32_t threads) {
  auto params = llama_context_default_params();
  params.n_seq_max = slots;
  params.n_ctx = slots * context_tokens;
  params.n_batch = static_cast<std::uint32_t>(batch_tokens);
  params.n_ubatch = params.n_batch;
  params.n_outputs_max = slots + limits::draft_tokens_max;
  params.n_threads = threads;
  params.n_threads_batch = threads;
  params.kv_unified = false;  // idle slots then cost the busy ones nothing
  params.type_k = loaded.kv_type;
  params.type_v = loaded.kv_type;
  params.no_perf = true;
  params.offload_kqv = loaded.card.backend != "cpu";
  params.op_offload = loaded.card.backend != "cpu";
  return params;
}

Result<LoadedModel> load_model(const EngineOptions& options,
                               const std::function<void(double)>& progress) {
  start_library();
  const auto device = find_device(options);
  if (!device) return fail(device.error());
  const auto type = kv_type(options.kv_type);
  if (!type) return fail(type.error());
  // Asked before the weights are there: afterwards repacked copies of them would count twice.
  const auto memory = memory_free(options, *device);
  const auto shape = read_shape(options);
  if (!shape) return fail(shape.error());
  auto model = open_model(options, *shape, *device, progress);
  if (!model) return fail(model.error());

  LoadedModel loaded;
  loaded.device = *device;
  loaded.model = std::move(*model);
  loaded.batch_tokens_max = options.batch_tokens_max;
  loaded.file_parts = shape->split_count;
  loaded.kv_type = *type;
  loaded.threads =
      options.threads > 0
          ? options.threads
          : static_cast<std::int32_t>(std::max(1U, std::thread::hardware_concurrency()));
  loaded.card = describe(loaded.model.get(), options, *device);
  loaded.vocabulary = std::make_unique<Vocabulary>(llama_model_get_vocab(loaded.model.get()));
  loaded.card.vocabulary_tokens = loaded.vocabulary->size();
  loaded.card.tokenizer_hash = loaded.vocabulary->hash();

  if (auto ok = choose_size(options, *shape, memory, loaded.card); !ok) {
    return fail(ok.error());
  }
  if (loaded.card.embeddings_only) return loaded;
  loaded.chat = std::make_unique<ChatFormat>(loaded.model.get(), *loaded.vocabulary);
  loaded.card.template_source = loaded.chat->source();
  const auto chosen = calibrate(loaded, options);
  loaded.threads = chosen.threads;
  loaded.batch_tokens_max = chosen.batch_tokens;
  auto sized = options;
  // Where nothing was measured the library may still have to do without.
  if (chosen.flash_attention != options.flash_attention.value_or(true)) {
    sized.flash_attention = chosen.flash_attention;
  }
  auto context = make_context(loaded, sized);
  if (!context) return fail(context.error());
  loaded.context = std::move(*context);
  count_memory(loaded, *shape, options);
  return loaded;
}

Result<ContextHandle> make_embedding_context(const LoadedModel& loaded) {
  auto params = llama_context_default_params();
  const auto tokens =
      static_cast<std::uint32_t>(std::min(loaded.card.context_tokens, embedding_tokens_max));
  params.n_ctx = tokens;
  params.n_batch = tokens;
  params.n_ubatch = tokens;  // attention that is not causal needs the input in one piece
  params.n_seq_max = 1;
  params.n_threads = loaded.threads;
  params.n_threads_batch = loaded.threads;
  params.embeddings = true;
  params.no_perf = true;
  const auto named = meta(loaded.model.get(), loaded.card.architecture + ".pooling_type");
  params.pooling_type = named.empty() ? LLAMA_POOLING_TYPE_MEAN : LLAMA_POOLING_TYPE_UNSPECIFIED;
  ContextHandle context(llama_init_from_model(loaded.model.get(), params));
  // Such a model gives one score where an embedding would have its dimensions.
  if (context && llama_pooling_type(context.get()) == LLAMA_POOLING_TYPE_RANK) {
    return fail_field({.field = "model",
                       .constraint = "embeds",
                       .message = "this model ranks documents, it makes no embeddings"},
                      "use an embedding model");
  }
  if (context && llama_pooling_type(context.get()) == LLAMA_POOLING_TYPE_NONE) {
    params.pooling_type = LLAMA_POOLING_TYPE_MEAN;
    context.reset(llama_init_from_model(loaded.model.get(), params));
  }
  if (!context) {
    return fail(Code::insufficient_memory, "no memory for a context of embeddings",
                "a smaller --ctx-tokens");
  }
  return context;
}

}  // namespace llorch
