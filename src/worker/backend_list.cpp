#include "worker/backend_list.h"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>

#include "base/result.h"
#include "console/json_output.h"
#include "protocol/json_text.h"

namespace llorch {
namespace {

void append_device(std::string& out, const BackendDevice& device) {
  JsonObjectWriter(out)
      .integer("index", device.index)
      .string("name", device.name)
      .integer("memory_bytes", device.memory_bytes)
      .integer("memory_free_bytes", device.memory_free_bytes)
      .end();
}

}  // namespace

std::string backends_json(const std::vector<BackendDevice>& devices) {
  std::vector<std::string> names;  // in the order of their first device
  for (const auto& device : devices) {
    if (std::ranges::find(names, device.backend) == names.end()) names.push_back(device.backend);
  }
  std::string out;
  JsonObjectWriter object(out);
  append_json_list(object.key("backends"), names, [&](const std::string& name) {
    JsonObjectWriter backend(out);
    backend.string("name", name).boolean("available", true);
    std::vector<BackendDevice> own;
    std::ranges::copy_if(devices, std::back_inserter(own),
                         [&](const auto& device) { return device.backend == name; });
    append_json_list(backend.key("devices"), own,
                     [&](const BackendDevice& device) { append_device(out, device); });
    backend.end();
  });
  object.end();
  return out;
}

int print_backends(const std::vector<BackendDevice>& devices, bool json) {
  std::string text;
  if (json) {
    text = backends_json(devices) + "\n";
  } else {
    for (const auto& device : devices) {
      text += fmt::format("{} {}: {} ({} MiB)\n", device.backend, device.index, device.name,
                          device.memory_bytes >> 20);
    }
  }
  return exit_with_output(print_text(text) ? exit_ok : exit_failure);
}

}  // namespace llorch
