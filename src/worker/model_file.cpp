// From --model to a checked file: catalog, header, memory, names.
#include <filesystem>
#include <memory>
#include <utility>

#include "base/random.h"
#include "gguf/gguf_header.h"
#include "gguf/memory_estimate.h"
#include "gguf/model_shape.h"
#include "pool/catalog.h"
#include "pool/root.h"
#include "sys/file_system.h"
#include "sys/host.h"
#include "worker/options.h"

namespace llorch {
namespace {

class FileSource final : public ByteSource {
 public:
  explicit FileSource(ReadableFile& file) : file_(file) {}
  std::uint64_t size() const override { return file_.size_bytes(); }
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> to) override {
    return file_.read_at(offset, to);
  }

 private:
  ReadableFile& file_;
};

Result<GgufHeader> read_header(FileSystem& files, const std::filesystem::path& path) {
  auto file = files.open(path);
  if (!file) return fail(std::move(file.error()));
  FileSource source(**file);
  auto header = read_gguf_header(source);
  if (!header) {
    header.error().message = path.string() + ": " + header.error().message;
    return fail(std::move(header.error()));
  }
  return header;
}

// Part `number`, from 1, of a split model. Source: llama.cpp's "%s-%05d-of-%05d.gguf".
std::filesystem::path part_path(const std::filesystem::path& first, std::uint32_t number,
                                std::uint32_t count) {
  const auto digits = [](std::uint32_t value) {
    auto text = std::to_string(value);
    return std::string(text.size() < 5 ? 5 - text.size() : 0, '0') + text;
  };
  const auto tail = [&](std::uint32_t part) {
    return "-" + digits(part) + "-of-" + digits(count) + ".gguf";
  };
  auto name = first.filename().string();
  if (!name.ends_with(tail(1))) return {};
  name.resize(name.size() - tail(1).size());
  return first.parent_path() / (name + tail(number));
}

// Every file of the model, before llama.cpp sees any. The shape has the weights of all parts.
Result<ModelShape> check_files(FileSystem& files, const std::filesystem::path& path) {
  const auto header = read_header(files, path);
  if (!header) return fail(header.error());
  auto shape = check_model(*header);
  if (!shape) {
    shape.error().message = path.string() + ": " + shape.error().message;
    return shape;
  }
  for (std::uint32_t part = 2; part <= shape->split_count; ++part) {
    const auto next = part_path(path, part, shape->split_count);
    if (next.empty()) {
      return fail(Code::model_load_failed,
                  path.string() + ": not named like the first part of a split model",
                  "give the file whose name ends in -00001-of-NNNNN.gguf");
    }
    const auto more = read_header(files, next);
    if (!more) return fail(more.error());
    shape->weights_bytes += more->tensor_bytes;
    shape->parameters += more->parameters;
  }
  return shape;
}

// Only what was asked for, or the least: the engine takes fewer slots where memory is short.
Result<void> check_memory(const ModelShape& shape, const EngineOptions& options) {
  if (options.backend != "cpu") return {};  // the device's memory is the engine's matter
  constexpr std::int64_t least_context_tokens = 512;
  MemoryPlan plan;
  plan.slots = static_cast<std::uint32_t>(options.slots.value_or(1));
  plan.context_tokens =
      static_cast<std::uint64_t>(options.ctx_tokens.value_or(least_context_tokens));
  if (!options.kv_type.empty()) plan.key_type = plan.value_type = options.kv_type;
  const auto estimate = estimate_memory(shape, plan);
  if (!estimate) return fail(estimate.error());
  return require_fit(*estimate, read_host_facts().memory_available_bytes);
}

}  // namespace

Result<void> resolve_worker_model(WorkerOptions& options, const Settings& settings) {
  const auto files = make_file_system();
  const auto model = resolve_model(*files, find_root(*files), settings, options.model);
  if (!model) return fail(model.error());
  const auto stem = model->path.filename().replace_extension().string();
  if (options.model_id.empty()) options.model_id = model->id.empty() ? stem : model->id;
  const auto own = settings.model(model->id.empty() ? options.model_id : model->id);
  auto& engine = options.engine;
  engine.model_path = model->path.string();
  if (!engine.slots && !options.slots_auto) engine.slots = own.slots;
  if (!engine.ctx_tokens) engine.ctx_tokens = own.ctx_tokens;
  if (!engine.gpu_layers) engine.gpu_layers = own.gpu_layers;
  if (engine.kv_type.empty()) engine.kv_type = own.kv_type;
  options.sampling = own.sampling;
  if (options.worker_id.empty()) {
    options.worker_id = "worker-" + engine.backend + "-" + random_word(6);
  }
  if (options.pool_host.empty()) options.pool_host = read_host_facts().name;
  const auto shape = check_files(*files, model->path);
  if (!shape) return fail(shape.error());
  return check_memory(*shape, engine);
}

}  // namespace llorch
