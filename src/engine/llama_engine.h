// The Engine over llama.cpp: how to load one, and which devices this build can use.
// Threads: load_llama_engine() blocks its caller; the engine then has threads of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/limits.h"
#include "base/result.h"
#include "engine/engine.h"

namespace llorch {

struct EngineOptions {
  std::string model_path;                  // a GGUF file, the first of a split one
  std::string backend = "cpu";             // cpu, cuda, metal or vulkan
  std::optional<std::int32_t> gpu;         // device index of the backend; absent: 0
  std::optional<std::int32_t> gpu_layers;  // absent: all of them
  std::optional<std::int32_t> slots;       // 1..256; absent: 4, fewer where memory is short
  std::optional<std::int64_t> ctx_tokens;  // per slot; absent: the model's, at most 8192
  std::string kv_type;                     // f16 (default), f32, bf16, q8_0, q4_0
  std::int32_t threads = 0;                // 0: one a core
  double itl_target_ms = 150;
  // Snapshots of KV cells; never more than a quarter of the memory free after loading. 0 = none.
  std::int64_t kv_ram_mib = limits::kv_ram_mib;
  std::string kv_dir;  // for snapshots that outlive the process; empty: none
  std::int64_t kv_disk_mib = limits::kv_disk_mib;  // of that folder; 0 = none
  std::optional<bool> flash_attention;  // absent: on where the model and backend allow it
  std::int32_t batch_tokens_max = 512;  // of one llama_decode
  // Tokens of an answer guessed and checked in one step; 0 = none.
  std::int32_t draft_tokens = limits::draft_tokens_max;
  std::string calibration_path;  // folder of what was measured before; empty: nothing is measured
  std::string trace_path;        // a new file that shows each step; empty: none

  bool keeps_on_disk() const { return !kv_dir.empty() && kv_disk_mib > 0; }
};

// Errors: not_found (no such file), model_load_failed, insufficient_memory, backend_error (the
// backend is not in this build, or has no such device), invalid_request (a value out of range),
// those of prepare_kv_folder().
// `progress` takes 0..1, on the calling thread.
Result<std::unique_ptr<Engine>> load_llama_engine(const EngineOptions& options,
                                                  const std::function<void(double)>& progress);

struct BackendDevice {
  std::string backend;  // cpu, cuda, metal, vulkan
  std::int32_t index = 0;
  std::string name;
  std::int64_t memory_bytes = 0;
  std::int64_t memory_free_bytes = 0;
};
// Every device that this build can use; the processor is always among them.
std::vector<BackendDevice> list_backend_devices();

}  // namespace llorch
