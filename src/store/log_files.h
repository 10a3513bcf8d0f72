// The few things the event log does to files, behind an interface so that faults can be tried.
// Threads: one. Lifetime: outlives the files it hands out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace llorch {

class LogFile {
 public:
  virtual ~LogFile() = default;
  // One write(2) at the end. Shape: bytes taken, 1..bytes.size(); fewer is no error.
  virtual Result<std::size_t> write(std::string_view bytes) = 0;
  // Shape: fewer bytes than asked for only at the end of the file.
  virtual Result<std::size_t> read_at(std::uint64_t offset, std::span<char> into) = 0;
  virtual Result<void> truncate(std::uint64_t size_bytes) = 0;
  virtual Result<std::uint64_t> size_bytes() = 0;
};

// Errors of every method: insufficient_storage, forbidden, not_found, internal.
class LogFiles {
 public:
  using Path = std::filesystem::path;
  virtual ~LogFiles() = default;
  // Made with mode 0700 where it is absent, parents included.
  virtual Result<void> make_folder(const Path& folder) = 0;
  // Names, sorted, without "." and "..".
  virtual Result<std::vector<std::string>> list(const Path& folder) = 0;
  virtual Result<std::unique_ptr<LogFile>> open(const Path& path) = 0;
  // With mode 0600. Errors: conflict (it is there).
  virtual Result<std::unique_ptr<LogFile>> create(const Path& path) = 0;
  virtual Result<void> remove(const Path& path) = 0;
};
std::unique_ptr<LogFiles> make_log_files();

// What a system call's errno means, with the path in the message.
std::unexpected<Error> fail_system(const std::string& what, const std::filesystem::path& path,
                                   int number);
// The folder itself gets mode 0700 where it is made, its missing parents what the umask leaves.
Result<void> make_private_folder(const std::filesystem::path& folder);

}  // namespace llorch
