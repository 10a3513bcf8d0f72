// Where a pool keeps its files, and the paths below it. Threads: any; a plain value.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "sys/file_system.h"

namespace llorch {

struct Root {
  std::filesystem::path path;

  std::filesystem::path models() const { return path / ".test-models"; }
  std::filesystem::path catalog() const { return models() / "catalog.json"; }
  std::filesystem::path runtime() const { return path / ".runtime"; }
  std::filesystem::path workers() const { return runtime() / "workers"; }
  std::filesystem::path backends() const { return runtime() / "backends.json"; }
  std::filesystem::path calibration() const { return runtime() / "calibration"; }
  std::filesystem::path kv_cache() const { return runtime() / "kv"; }
};

struct RootSources {
  std::optional<std::string> variable;  // $LLORCH_ROOT
  std::filesystem::path program_folder;
  std::optional<std::string> home;
  bool service = false;  // runs as the system service
};

// $LLORCH_ROOT; else the checkout the program was built in, when it holds .runtime/ or
// .test-models/; else /var/lib/llorch for the service; else ~/.llorch.
// Source: contract §1. A checkout is the nearest folder above the program with src/ and
// CMakeLists.txt.
Root find_root(FileSystem& files, const RootSources& sources);
// The same from this process's own environment.
Root find_root(FileSystem& files);

}  // namespace llorch
