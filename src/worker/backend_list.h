// What `llorch-candled --list-backends` prints: the devices this build can use, in the machine
// form that `llorch-pool backends list` reads. Pure but for stdout.
#pragma once

#include <string>
#include <vector>

#include "engine/llama_engine.h"

namespace llorch {

// {"backends":[{"name":"cpu","devices":[{"index":0,"name":…,"memory_bytes":…}]}]}
std::string backends_json(const std::vector<BackendDevice>& devices);
// Prints; gives the exit code.
int print_backends(const std::vector<BackendDevice>& devices, bool json);

}  // namespace llorch
