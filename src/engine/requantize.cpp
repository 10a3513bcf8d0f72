#include "engine/requantize.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstring>
#include <fmt/format.h>
#include <llama.h>
#include <optional>
#include <utility>

#include "base/limits.h"
#include "engine/library.h"
#include "engine/model_files.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

struct WeightType {
  const char* name;
  llama_ftype file_type;
  const char* tensor_type;  // of most weights
  bool mixed = false;       // some layers get a larger type
};

constexpr std::array weight_types = {WeightType{"BF16", LLAMA_FTYPE_MOSTLY_BF16, "bf16"},
                                     WeightType{"F16", LLAMA_FTYPE_MOSTLY_F16, "f16"},
                                     WeightType{"Q8_0", LLAMA_FTYPE_MOSTLY_Q8_0, "q8_0"},
                                     WeightType{"Q6_K", LLAMA_FTYPE_MOSTLY_Q6_K, "q6_K"},
                                     WeightType{"Q5_K_M", LLAMA_FTYPE_MOSTLY_Q5_K_M, "q5_K", true},
                                     WeightType{"Q5_0", LLAMA_FTYPE_MOSTLY_Q5_0, "q5_0"},
                                     WeightType{"Q4_K_M", LLAMA_FTYPE_MOSTLY_Q4_K_M, "q4_K", true},
                                     WeightType{"Q4_1", LLAMA_FTYPE_MOSTLY_Q4_1, "q4_1"},
                                     WeightType{"Q4_0", LLAMA_FTYPE_MOSTLY_Q4_0, "q4_0"},
                                     WeightType{"IQ4_NL", LLAMA_FTYPE_MOSTLY_IQ4_NL, "iq4_nl"}};

std::string upper(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return out;
}

Result<WeightType> weight_type(std::string_view name) {
  const auto wanted = upper(name);
  const auto found = std::ranges::find(weight_types, wanted, &WeightType::name);
  if (found != weight_types.end()) return *found;
  return fail(Code::invalid_request,
              "type '" + std::string(name) + "': not one that weights can be requantised to",
              fmt::format("one of {}", fmt::join(requantize_types(), ", ")));
}

// No tensor takes more than its own bytes and those of the larger of `type` and q8_0, which
// llama.cpp keeps for what suffers most.
std::uint64_t bytes_max(const GgufHeader& header, const WeightType& type) {
  const auto* const most = tensor_type(type.tensor_type);
  const auto* const spared = tensor_type("q8_0");
  const auto bytes_of = [](const TensorType& each, std::uint64_t elements) {
    return elements / each.block_elements * each.block_bytes;
  };
  std::uint64_t sum = header.data_offset;
  for (const auto& tensor : header.tensors) {
    std::uint64_t elements = 1;
    for (const auto size : tensor.shape) elements *= size;
    const bool edge = tensor.name == "token_embd.weight" || tensor.name == "output.weight";
    const auto bytes = tensor.dimensions < 2 ? tensor.bytes
                                             : std::max(bytes_of(*most, elements),
                                                        edge ? bytes_of(*spared, elements) : 0);
    sum += bytes + header.alignment;
  }
  return type.mixed ? sum + sum / 5 : sum;
}

// llama.cpp's "[  12/ 272] blk.3.attn_k.weight …" as 0..1.
std::optional<double> tensor_progress(std::string_view line) {
  const auto slash = line.find('/');
  if (!line.starts_with('[') || slash == line.npos) return std::nullopt;
  const auto number = [&](std::size_t at) {
    at = line.find_first_not_of(' ', at);
    int value = 0;
    if (at != line.npos) std::from_chars(line.data() + at, line.data() + line.size(), value);
    return value;
  };
  const int done = number(1);
  const int total = number(slash + 1);
  if (done <= 0 || total <= 0) return std::nullopt;
  return std::min(1.0, static_cast<double>(done) / total);
}

llama_model_kv_override text_override(std::string_view key, std::string_view text) {
  llama_model_kv_override made{};
  made.tag = LLAMA_KV_OVERRIDE_TYPE_STR;
  std::memcpy(made.key, key.data(), std::min(key.size(), sizeof(made.key) - 1));
  std::memcpy(made.val_str, text.data(), std::min(text.size(), sizeof(made.val_str) - 1));
  return made;
}

// Runs llama.cpp's quantiser. Errors: backend_error with its last line of error.
Result<void> quantize_file(const RequantizeRequest& request, const WeightType& type,
                           const std::string& from, const fs::path& part,
                           const std::function<void(double)>& progress) {
  std::string why = "no reason given";
  const LibraryLog log([&](ggml_log_level level, std::string_view line) {
    if (level == GGML_LOG_LEVEL_ERROR) why = line;
    if (const auto done = tensor_progress(line)) progress(*done);
  });
  const std::array overrides = {text_override("llorch.requantized_from", from),
                                llama_model_kv_override{}};
  auto params = llama_model_quantize_default_params();
  params.nthread = request.threads;
  params.ftype = type.file_type;
  params.allow_requantize = true;
  params.kv_overrides = overrides.data();
  params.max_buf_size = limits::requantize_buffer_bytes;
  const auto status = llama_model_quantize(request.model_path.c_str(), part.c_str(), &params);
  if (status == 0) return {};
  return fail(Code::backend_error, request.model_path + " as " + type.name + ": " + why,
              "try another type");
}

Result<void> require_room(FileSystem& files, const fs::path& folder, std::uint64_t bytes) {
  const auto free_bytes = files.free_bytes(folder);
  if (!free_bytes) return fail(free_bytes.error());
  if (bytes <= *free_bytes) return {};
  return fail(Code::insufficient_storage,
              fmt::format("disk of {}: {} MiB are needed, {} MiB are free", folder.string(),
                          bytes / limits::mib, *free_bytes / limits::mib),
              "free some space, or choose another --out");
}

Result<void> finish(FileSystem& files, const fs::path& part, const fs::path& out) {
  const auto written = files.open_append(part);
  if (!written) return fail(written.error());
  if (const auto synced = (*written)->sync(); !synced) return synced;
  if (files.exists(out)) {
    return fail(Code::conflict, out.string() + ": another process has made it meanwhile",
                "choose another --out");
  }
  return files.rename(part, out);
}

Result<ModelShape> write_part(FileSystem& files, const RequantizeRequest& request,
                              const WeightType& type, const std::string& from, const fs::path& part,
                              const std::function<void(double)>& progress) {
  const fs::path out = request.out_path;
  if (const auto done = quantize_file(request, type, from, part, progress); !done) {
    return fail(done.error());
  }
  auto shape = read_model_files(files, part);
  if (!shape) return shape;
  if (const auto named = finish(files, part, out); !named) return fail(named.error());
  return shape;
}

}  // namespace

std::vector<std::string> requantize_types() {
  std::vector<std::string> names;
  for (const auto& type : weight_types) names.emplace_back(type.name);
  return names;
}

Result<std::uint64_t> requantized_bytes_max(FileSystem& files, const std::string& model_path,
                                            std::string_view type) {
  const auto wanted = weight_type(type);
  if (!wanted) return fail(wanted.error());
  const auto shape = read_model_files(files, model_path);
  if (!shape) return fail(shape.error());
  const auto header = read_model_header(files, model_path);
  if (!header) return fail(header.error());
  const auto first = bytes_max(*header, *wanted);
  // A split model's further parts are like its first.
  const auto share = static_cast<double>(shape->parameters) /
                     static_cast<double>(std::max<std::uint64_t>(header->parameters, 1));
  return static_cast<std::uint64_t>(static_cast<double>(first) * share);
}

Result<Requantized> requantize(FileSystem& files, const RequantizeRequest& request,
                               const std::function<void(double)>& progress) {
  const auto type = weight_type(request.type);
  if (!type) return fail(type.error());
  const auto source = read_model_files(files, request.model_path);
  if (!source) return fail(source.error());
  const fs::path out = request.out_path;
  if (files.exists(out)) {
    return fail(Code::conflict, out.string() + ": is there already",
                "choose another --out; nothing is overwritten");
  }
  const auto most = requantized_bytes_max(files, request.model_path, type->name);
  if (!most) return fail(most.error());
  const fs::path folder = out.has_parent_path() ? out.parent_path() : fs::path(".");
  if (!files.exists(folder)) {
    return fail(Code::not_found, folder.string() + ": no such folder",
                "mkdir -p " + folder.string());
  }
  if (const auto room = require_room(files, folder, *most); !room) return fail(room.error());

  const fs::path part = out.string() + ".part";
  const auto lock = files.lock(part, 0);  // kept by the file's own inode when it is renamed
  if (!lock) return fail(lock.error());
  const auto from = upper(source->quantization);
  const auto made = write_part(files, request, *type, from, part, progress);
  if (!made) {
    (void)files.remove(part);
    return fail(made.error());
  }
  const auto file = files.stat(out);
  if (!file) return fail(file.error());
  return Requantized{.type = type->name,
                     .from = from,
                     .source_bytes = source->weights_bytes,
                     .weights_bytes = made->weights_bytes,
                     .file_bytes = file->size_bytes};
}

}  // namespace llorch
