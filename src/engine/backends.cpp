#include <algorithm>
#include <cctype>

#include "engine/llama_engine.h"
#include "engine/loaded_model.h"

namespace llorch {

std::string backend_name(ggml_backend_dev_t device) {
  std::string name = ggml_backend_reg_name(ggml_backend_dev_backend_reg(device));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name == "mtl" ? "metal" : name;
}

std::vector<BackendDevice> list_backend_devices() {
  std::vector<BackendDevice> devices;
  for (std::size_t i = 0; i < ggml_backend_dev_count(); ++i) {
    const auto device = ggml_backend_dev_get(i);
    if (ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_ACCEL) continue;
    std::size_t free = 0;
    std::size_t total = 0;
    ggml_backend_dev_memory(device, &free, &total);
    auto backend = backend_name(device);
    const auto index = std::count_if(devices.begin(), devices.end(),
                                     [&](const auto& d) { return d.backend == backend; });
    devices.push_back({.backend = std::move(backend),
                       .index = static_cast<std::int32_t>(index),
                       .name = ggml_backend_dev_description(device),
                       .memory_bytes = static_cast<std::int64_t>(total),
                       .memory_free_bytes = static_cast<std::int64_t>(free)});
  }
  return devices;
}

}  // namespace llorch
