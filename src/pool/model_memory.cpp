#include "pool/model_memory.h"

#include "base/limits.h"
#include "gguf/gguf_header.h"

namespace llorch {
namespace {

class OpenedFile final : public ByteSource {
 public:
  explicit OpenedFile(ReadableFile& file) : file_(file) {}
  std::uint64_t size() const override { return file_.size_bytes(); }
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> to) override {
    return file_.read_at(offset, to);
  }

 private:
  ReadableFile& file_;
};

Result<GgufHeader> read_header(FileSystem& files, const std::filesystem::path& path) {
  const auto file = files.open(path);
  if (!file) return fail(file.error());
  OpenedFile source(**file);
  auto header = read_gguf_header(source);
  if (header) return header;
  Error error = header.error();
  error.message = path.string() + ": " + error.message;
  return fail(std::move(error));
}

}  // namespace

bool fits_memory(std::uint64_t weights_bytes, std::uint64_t memory_bytes) {
  constexpr std::uint64_t process_bytes = 256 * limits::mib;
  return weights_bytes + weights_bytes / 10 + process_bytes <= memory_bytes;
}

MemoryPlan least_plan(std::optional<std::int32_t> slots, std::optional<std::int64_t> ctx_tokens,
                      std::string_view kv_type) {
  constexpr std::int64_t least_ctx_tokens = 512;
  MemoryPlan plan;
  plan.slots = static_cast<std::uint32_t>(slots.value_or(1));
  plan.context_tokens = static_cast<std::uint64_t>(ctx_tokens.value_or(least_ctx_tokens));
  if (!kv_type.empty()) plan.key_type = plan.value_type = kv_type;
  return plan;
}

Result<ModelShape> read_model_shape(FileSystem& files, const std::filesystem::path& first,
                                    const std::vector<std::string>& extra_files) {
  const auto header = read_header(files, first);
  if (!header) return fail(header.error());
  auto shape = check_model(*header);
  if (!shape) {
    Error error = shape.error();
    error.message = first.string() + ": " + error.message;
    return fail(std::move(error));
  }
  for (const auto& name : extra_files) {
    const auto part = read_header(files, first.parent_path() / name);
    if (!part) return fail(part.error());
    shape->weights_bytes += part->tensor_bytes;
    shape->parameters += part->parameters;
  }
  return shape;
}

}  // namespace llorch
