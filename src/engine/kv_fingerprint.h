// What a state of KV cells depends on besides its tokens, as text: two workers whose texts are
// equal can use each other's states. Threads: any.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "sys/file_system.h"

namespace llorch {

struct EngineOptions;
struct LoadedModel;

// A file by its size, the time of its last change, and 256 samples of 4 KiB spread over it: 1 MiB
// is read whatever the model's size. What was changed between the samples shows in the time.
// Errors: those of the file system.
Result<std::string> sample_file(FileSystem& files, const std::filesystem::path& path);

// The model's files, backend, layout, slots, flash attention, types of the cells, context length,
// version and patches of llama.cpp. Errors: those of the file system.
Result<std::string> kv_fingerprint(FileSystem& files, const EngineOptions& options,
                                   const LoadedModel& loaded);

}  // namespace llorch
