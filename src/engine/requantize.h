// A model's weights in another type: a new file, its loss not yet known (engine/perplexity.h).
// Threads: blocks its caller; one call at a time in a process.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sys/file_system.h"

namespace llorch {

struct RequantizeRequest {
  std::string model_path;    // a GGUF file, the first of a split one; only read
  std::string type;          // one of requantize_types(), any case
  std::string out_path;      // must not exist
  std::int32_t threads = 0;  // 0: one a core
};

struct Requantized {
  std::string type;                // "Q8_0"
  std::string from;                // the source's: "Q4_1"
  std::uint64_t source_bytes = 0;  // of the weights
  std::uint64_t weights_bytes = 0;
  std::uint64_t file_bytes = 0;
};

// "Q8_0", "Q4_0" and others that need no importance matrix.
std::vector<std::string> requantize_types();

// The new file has its name only when it is whole: written beside as NAME.part, checked, synced.
// Its key llorch.requantized_from says what it was made of. `progress` takes 0..1.
// Errors: invalid_request (no such type), conflict (the file is there, or another process writes
// it), insufficient_storage (asked before the first byte), not_found, model_load_failed,
// backend_error (llama.cpp's reason). Source: llama.h llama_model_quantize.
Result<Requantized> requantize(FileSystem& files, const RequantizeRequest& request,
                               const std::function<void(double)>& progress);

// The most bytes that a file of this type can take.
Result<std::uint64_t> requantized_bytes_max(FileSystem& files, const std::string& model_path,
                                            std::string_view type);

}  // namespace llorch
