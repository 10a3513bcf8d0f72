// From --model to a checked file: catalog, header, memory, names.
#include <filesystem>
#include <memory>
#include <utility>

#include "base/random.h"
#include "engine/kv_folder.h"
#include "engine/model_files.h"
#include "gguf/memory_estimate.h"
#include "pool/catalog.h"
#include "pool/model_memory.h"
#include "pool/model_reference.h"
#include "pool/root.h"
#include "pool/text.h"
#include "pool/variants.h"
#include "sys/file_system.h"
#include "sys/host.h"
#include "worker/options.h"

namespace llorch {
namespace {

Result<void> check_memory(const ModelShape& shape, const EngineOptions& options) {
  if (options.backend != "cpu") return {};  // the device's memory is the engine's matter
  const auto estimate =
      estimate_memory(shape, least_plan(options.slots, options.ctx_tokens, options.kv_type));
  if (!estimate) return fail(estimate.error());
  return require_fit(*estimate, read_host_facts().memory_available_bytes);
}

// The file name tells Q4_K_M where the header only tells the type of most tensors.
std::string quantization_name(const ModelShape& shape, const std::string& file) {
  const auto named = quantization_of(file);
  return named.empty() ? upper(shape.quantization) : named;
}

}  // namespace

Result<ModelShape> find_worker_model(WorkerOptions& options, const Settings& settings) {
  const auto files = make_file_system();
  const auto model = resolve_model(*files, find_root(*files), settings, options.model);
  if (!model) return fail(model.error());
  const auto stem = model->path.filename().replace_extension().string();
  if (options.model_id.empty()) options.model_id = model->id.empty() ? stem : model->id;
  const auto own = settings.model(model->id.empty() ? options.model_id : model->id);
  auto& engine = options.engine;
  engine.model_path = model->path.string();
  engine.calibration_path = find_root(*files).calibration().string();
  if (!engine.slots && !options.slots_auto) engine.slots = own.slots;
  if (!engine.ctx_tokens) engine.ctx_tokens = own.ctx_tokens;
  if (!engine.gpu_layers) engine.gpu_layers = own.gpu_layers;
  if (engine.kv_type.empty()) engine.kv_type = own.kv_type;
  options.sampling = own.sampling;
  if (options.worker_id.empty()) {
    options.worker_id = "worker-" + engine.backend + "-" + random_word(6);
  }
  if (options.pool_host.empty()) options.pool_host = read_host_facts().name;
  auto shape = read_model_files(*files, model->path);
  if (!shape) return shape;
  options.quantization = quantization_name(*shape, model->path.filename().string());
  options.layout = find_lossy_layout(*files, model->path);
  if (!options.layout && !shape->requantized_from.empty()) {
    options.layout = LossyLayout{.type = options.quantization, .from = shape->requantized_from};
  }
  return shape;
}

Result<void> resolve_worker_model(WorkerOptions& options, const Settings& settings) {
  const auto shape = find_worker_model(options, settings);
  if (!shape) return fail(shape.error());
  if (options.engine.keeps_on_disk()) {
    const auto files = make_file_system();
    if (const auto ready = prepare_kv_folder(*files, options.engine.kv_dir); !ready) return ready;
  }
  return check_memory(*shape, options.engine);
}

}  // namespace llorch
