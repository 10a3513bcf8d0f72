// Whether a model fits this machine: a rule of thumb before it is on disk, the header's own
// figures after. Threads: any.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gguf/memory_estimate.h"
#include "gguf/model_shape.h"
#include "sys/file_system.h"
#include "sys/host.h"

namespace llorch {

// Weights, a tenth of them for the KV cache and buffers, 256 MiB for the process.
bool fits_memory(std::uint64_t weights_bytes, std::uint64_t memory_bytes);

// What a worker needs at the least: what it is told, else one slot of 512 tokens, for the engine
// takes less than its default where memory is short. Lifetime: as the text of `kv_type`.
MemoryPlan least_plan(std::optional<std::int32_t> slots, std::optional<std::int64_t> ctx_tokens,
                      std::string_view kv_type);

// Header of the first file, weights of all parts. Errors: those of read_gguf_header and
// check_model, with the path; not_found for a missing part.
Result<ModelShape> read_model_shape(FileSystem& files, const std::filesystem::path& first,
                                    const std::vector<std::string>& extra_files);

}  // namespace llorch
