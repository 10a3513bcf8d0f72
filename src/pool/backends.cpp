#include "pool/backends.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cctype>
#include <charconv>
#include <fmt/format.h>
#include <sstream>

#include "base/limits.h"
#include "console/json_output.h"
#include "pool/text.h"
#include "protocol/json_parse.h"

namespace llorch {
namespace {

namespace json = boost::json;

std::uint64_t number_or_zero(std::string_view text) {
  std::uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

const Backend* find_backend(const std::vector<Backend>& backends, std::string_view name) {
  const auto found = std::ranges::find(backends, name, &Backend::name);
  return found == backends.end() ? nullptr : &*found;
}

std::string gpus(const std::vector<Device>& devices) {
  std::string names;
  for (const auto& device : devices) names += (names.empty() ? "" : ", ") + device.name;
  return fmt::format("{} GPU{}: {}", devices.size(), devices.size() == 1 ? "" : "s", names);
}

Backend cpu_backend(const BackendEvidence& evidence, const HostFacts& host) {
  Backend cpu{.name = "cpu", .available = true, .priority = 3, .reason = "always available"};
  if (const auto* build = find_backend(evidence.build, "cpu")) cpu.devices = build->devices;
  if (cpu.devices.empty()) {
    cpu.devices.push_back({.index = 0, .name = "CPU", .memory_bytes = host.memory_total_bytes});
  }
  return cpu;
}

std::string build_lacks(const BackendEvidence& evidence, std::string_view name) {
  if (!evidence.build_failure.empty()) return evidence.build_failure;
  return fmt::format("llorch-candled is built without {}", name);
}

Backend metal_backend(const BackendEvidence& evidence) {
  Backend metal{.name = "metal", .priority = 1};
  if (!evidence.mac) {
    metal.reason = "not available on Linux";
  } else if (const auto* build = find_backend(evidence.build, "metal")) {
    metal.available = true;
    metal.reason = "Apple GPU";
    metal.devices = build->devices;
  } else {
    metal.reason =
        evidence.build_failure.empty() ? "no Metal device found" : evidence.build_failure;
  }
  return metal;
}

Backend cuda_backend(const BackendEvidence& evidence) {
  Backend cuda{.name = "cuda", .priority = 2};
  const auto* build = find_backend(evidence.build, "cuda");
  if (evidence.mac) {
    cuda.reason = "not available on Mac";
  } else if (!evidence.nvidia_failure.empty()) {
    cuda.reason = evidence.nvidia_failure;
  } else if (evidence.nvidia.empty()) {
    cuda.reason = "no NVIDIA GPU detected";
  } else if (build == nullptr) {
    cuda.reason = build_lacks(evidence, "CUDA");
  } else {
    cuda.available = true;
    cuda.reason = gpus(evidence.nvidia);
    cuda.devices = evidence.nvidia;
  }
  return cuda;
}

// "CPU", "Metal", "CUDA"; further ones with a capital.
std::string shown_name(const std::string& name) {
  if (name == "cpu") return "CPU";
  if (name == "cuda") return "CUDA";
  std::string shown = name;
  shown[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(shown[0])));
  return shown;
}

Device device_from(const json::object& object) {
  const auto number = [&](const char* key) {
    const auto* value = object.if_contains(key);
    boost::system::error_code failed;
    const auto result = value != nullptr && value->is_number()
                            ? value->to_number<std::uint64_t>(failed)
                            : std::uint64_t{0};
    return failed ? 0 : result;
  };
  Device device{.index = static_cast<int>(number("index")),
                .memory_bytes = number("memory_bytes"),
                .memory_free_bytes = number("memory_free_bytes")};
  const auto* name = object.if_contains("name");
  if (name != nullptr && name->is_string()) device.name = name->get_string();
  return device;
}

// {"backends":[{"name":"cpu","available":true,"devices":[…]}]}
Result<std::vector<Backend>> parse_build(const std::string& text) {
  const auto object = parse_json_object(text);
  if (!object) return fail(object.error());
  const auto* list = object->if_contains("backends");
  if (list == nullptr || !list->is_array()) return fail(Code::internal, "no backends in its reply");
  std::vector<Backend> backends;
  for (const auto& value : list->get_array()) {
    const auto* each = value.if_object();
    const auto* name = each == nullptr ? nullptr : each->if_contains("name");
    if (name == nullptr || !name->is_string() || name->get_string().empty()) continue;
    Backend backend{.name = std::string(name->get_string())};
    const auto* devices = each->if_contains("devices");
    if (devices != nullptr && devices->is_array()) {
      for (const auto& device : devices->get_array()) {
        if (device.is_object()) backend.devices.push_back(device_from(device.get_object()));
      }
    }
    backends.push_back(std::move(backend));
  }
  return backends;
}

void ask_nvidia(const PoolContext& context, BackendEvidence& evidence) {
  const auto outcome = context.processes.run(
      {.argv = {"nvidia-smi", "--query-gpu=index,name,memory.total,memory.free",
                "--format=csv,noheader,nounits"},
       .limit_ms = limits::gpu_query_ms_max});
  if (!outcome) return;  // no driver here
  if (outcome->timed_out) {
    evidence.nvidia_failure = "nvidia-smi did not answer within 5 s";
  } else if (outcome->exit_status != 0) {
    const std::string why = first_line(outcome->out.empty() ? outcome->err : outcome->out);
    // "No devices were found" is an answer, not a failure.
    if (!why.contains("No devices")) evidence.nvidia_failure = "nvidia-smi: " + why;
  } else {
    evidence.nvidia = parse_nvidia_smi(outcome->out);
  }
}

void ask_build(const PoolContext& context, BackendEvidence& evidence) {
  const auto outcome = context.processes.run(
      {.argv = {(context.program_folder / "llorch-candled").string(), "--list-backends", "--json"},
       .limit_ms = limits::gpu_query_ms_max,
       .environment = device_order(context)});
  if (!outcome) {
    evidence.build_failure = "llorch-candled is not in " + context.program_folder.string();
  } else if (outcome->timed_out) {
    evidence.build_failure = "llorch-candled did not answer within 5 s";
  } else if (outcome->exit_status != 0) {
    evidence.build_failure = "llorch-candled: " + first_line(outcome->err);
  } else if (auto parsed = parse_build(outcome->out)) {
    evidence.build = std::move(*parsed);
  } else {
    evidence.build_failure = "llorch-candled: " + parsed.error().message;
  }
}

}  // namespace

std::vector<Backend> join_backends(const BackendEvidence& evidence, const HostFacts& host) {
  std::vector<Backend> backends = {cpu_backend(evidence, host), metal_backend(evidence),
                                   cuda_backend(evidence)};
  for (const auto& other : evidence.build) {
    if (find_backend(backends, other.name) != nullptr) continue;
    Backend backend = other;
    backend.available = !other.devices.empty();
    backend.priority = static_cast<int>(backends.size()) + 1;
    backend.reason = backend.available ? gpus(other.devices) : "no device found";
    backends.push_back(std::move(backend));
  }
  return backends;
}

std::map<std::string, std::string> device_order(const PoolContext& context) {
  if (context.environment("CUDA_DEVICE_ORDER")) return {};
  return {{"CUDA_DEVICE_ORDER", "PCI_BUS_ID"}};
}

BackendEvidence gather_backends(const PoolContext& context) {
  BackendEvidence evidence{.mac = context.host.mac};
  if (!evidence.mac) ask_nvidia(context, evidence);
  ask_build(context, evidence);
  return evidence;
}

std::vector<Backend> detect_backends(const PoolContext& context) {
  return join_backends(gather_backends(context), context.host);
}

std::vector<Backend> detect_and_store_backends(const PoolContext& context) {
  const auto backends = detect_backends(context);
  const auto made = context.files.make_directories(context.root.runtime());
  const auto written = made ? context.files.write_atomic(context.root.backends(),
                                                         pretty_json(to_json(backends)) + "\n")
                            : made;
  if (!written) context.say("warning: " + written.error().message);
  return backends;
}

json::object to_json(const std::vector<Backend>& backends) {
  json::array list;
  for (const auto& backend : backends) {
    json::array devices;
    for (const auto& device : backend.devices) {
      devices.push_back(
          {{"index", device.index}, {"name", device.name}, {"memory_bytes", device.memory_bytes}});
    }
    list.push_back({{"name", backend.name},
                    {"available", backend.available},
                    {"priority", backend.priority},
                    {"reason", backend.reason},
                    {"devices", std::move(devices)}});
  }
  return {{"backends", std::move(list)}};
}

std::string backends_text(const std::vector<Backend>& backends, const std::string& host) {
  std::string text = "Available Backends on " + host + "\n" + std::string(36, '=') + "\n";
  for (const auto& backend : backends) {
    text += fmt::format("{} {} ({})\n", backend.available ? "✅" : "❌", shown_name(backend.name),
                        backend.reason);
  }
  return text;
}

std::vector<Device> parse_nvidia_smi(std::string_view csv) {
  std::vector<Device> devices;
  std::istringstream lines{std::string(csv)};
  for (std::string line; std::getline(lines, line);) {
    std::vector<std::string> fields;
    std::istringstream parts(line);
    for (std::string field; std::getline(parts, field, ',');) fields.emplace_back(trim(field));
    if (fields.size() < 4 || fields[0].empty()) continue;
    devices.push_back({.index = static_cast<int>(number_or_zero(fields[0])),
                       .name = fields[1],
                       .memory_bytes = number_or_zero(fields[2]) * limits::mib,
                       .memory_free_bytes = number_or_zero(fields[3]) * limits::mib});
  }
  return devices;
}

}  // namespace llorch
