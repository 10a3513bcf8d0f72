// `llorch host add|list|remove`: the [pools.NAME] of the user's llorch.toml. Threads: one.
#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"
#include "base/settings.h"
#include "sys/file_system.h"

namespace llorch {

struct HostCommand {
  enum class Kind { add, list, remove };
  Kind kind = Kind::list;
  std::string name;
  PoolSettings pool;  // of add; an empty host is the name itself
  bool json = false;
};

// $LLORCH_CONFIG, else ~/.config/llorch/llorch.toml. Errors: not_found (no HOME).
Result<std::filesystem::path> user_settings_file();

// Gives the exit code, everything else printed. `file` is made when absent, with its folder; it
// keeps its permissions. Errors: those of pool_table.h, of the file system and load_settings().
Result<int> run_host_command(const HostCommand& command, FileSystem& files,
                             const std::filesystem::path& file);

}  // namespace llorch
