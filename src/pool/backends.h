// Which backends this host can use: what nvidia-smi and this build of llorch-candled say, agreed.
// Threads: one.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "pool/context.h"

namespace llorch {

struct Device {
  int index = 0;
  std::string name;
  std::uint64_t memory_bytes = 0;
  std::uint64_t memory_free_bytes = 0;
};

struct Backend {
  std::string name;  // cpu, metal, cuda, …
  bool available = false;
  int priority = 0;    // metal 1, cuda 2, cpu 3, further ones after them
  std::string reason;  // "always available", "2 GPUs: NVIDIA H200, NVIDIA H200"
  std::vector<Device> devices;
};

// What each side said; the rule that joins them is pure.
struct BackendEvidence {
  bool mac = false;
  std::vector<Device> nvidia;  // of nvidia-smi
  std::string nvidia_failure;  // why it gave none although a driver is there; empty = simply none
  std::vector<Backend> build;  // of llorch-candled: name and devices
  std::string build_failure;   // why it could not be asked; empty = it answered
};
// CPU, Metal, CUDA in this order, then what else the build offers.
std::vector<Backend> join_backends(const BackendEvidence& evidence, const HostFacts& host);

// What llorch-candled must be started with, so that --gpu N is the device that nvidia-smi counts as
// N and not the fastest first. Empty where the user chose an order.
std::map<std::string, std::string> device_order(const PoolContext& context);

// Asks both, each within limits::gpu_query_ms_max.
BackendEvidence gather_backends(const PoolContext& context);
std::vector<Backend> detect_backends(const PoolContext& context);
// The same, kept in `.runtime/backends.json`; not being able to write it is a warning.
std::vector<Backend> detect_and_store_backends(const PoolContext& context);

// {"backends":[{"name","available","priority","reason","devices":[{"index","name",
//  "memory_bytes"}]}]}
boost::json::object to_json(const std::vector<Backend>& backends);
// "Available Backends on HOST", 36 "=", a line each.
std::string backends_text(const std::vector<Backend>& backends, const std::string& host);

// "index, name, total MiB, free MiB" a line, as nvidia-smi prints with --format=csv.
std::vector<Device> parse_nvidia_smi(std::string_view csv);

}  // namespace llorch
