// Deletes what lies below a folder without ever following a link. Threads: one.
#pragma once

#include <cstdint>
#include <filesystem>

#include "sys/file_system.h"

namespace llorch {

struct Removed {
  std::uint64_t files = 0;  // links count as files
  std::uint64_t bytes = 0;
};
// Everything below `folder`; the folder itself stays. One that is not there is empty.
// Errors: invalid_request (it is a link), those of the file system.
Result<Removed> remove_below(FileSystem& files, const std::filesystem::path& folder);

// The snapshots of KV cells right in `folder`, those half written too; by their names, so that in a
// folder that someone named nothing else goes. One that is not there is empty.
// Errors: those of the file system.
Result<Removed> remove_kv_files(FileSystem& files, const std::filesystem::path& folder);

}  // namespace llorch
