// The disk behind an interface, so that what the pool does to files can be tried with a fake.
// Threads: any. Lifetime: outlives the locks and files it hands out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace llorch {

struct FileStat {
  enum class Kind { file, directory, link, other };
  Kind kind = Kind::other;
  std::uint64_t size_bytes = 0;
  std::int64_t modified_ns = 0;  // since the epoch
  std::uint32_t mode = 0;        // permission bits: 0700
  bool own = false;              // belongs to the user that this process runs as
};

// Held while it lives; released by the kernel when the process dies.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

class ReadableFile {
 public:
  virtual ~ReadableFile() = default;
  virtual std::uint64_t size_bytes() const = 0;
  // Shape: fewer bytes than asked for only at the end of the file.
  virtual Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) = 0;
};

class WritableFile {
 public:
  virtual ~WritableFile() = default;
  virtual std::uint64_t size_bytes() const = 0;  // also where append() writes
  virtual Result<void> append(std::span<const std::byte> bytes) = 0;
  virtual Result<void> truncate(std::uint64_t size_bytes) = 0;
  virtual Result<void> sync() = 0;
};

// Errors of every method: not_found, forbidden (permission, read-only), insufficient_storage,
// conflict (exists where it must not), internal; the message names the path.
class FileSystem {
 public:
  using Path = std::filesystem::path;
  virtual ~FileSystem() = default;

  // Errors: too_large when the file has more than `bytes_max` bytes.
  virtual Result<std::string> read(const Path& path, std::size_t bytes_max) = 0;
  // A reader sees the old bytes or the new ones: temp file, fsync, rename, fsync of the folder.
  virtual Result<void> write_atomic(const Path& path, std::string_view bytes) = 0;
  // Follows symbolic links. Errors: not_found.
  virtual Result<FileStat> stat(const Path& path) = 0;
  // Of the link itself where the path is one.
  virtual Result<FileStat> stat_link(const Path& path) = 0;
  // Names in a folder, sorted, without "." and "..".
  virtual Result<std::vector<std::string>> list(const Path& directory) = 0;
  // A file, a link itself or an empty folder; gone already is success.
  virtual Result<void> remove(const Path& path) = 0;
  virtual Result<void> make_directories(const Path& path) = 0;
  // The last part is 0700 when it is made; what is there already stays as it is.
  virtual Result<void> make_private_directory(const Path& path) = 0;
  // Durable: the folder is synced too. Replaces `to`.
  virtual Result<void> rename(const Path& from, const Path& to) = 0;
  // Bytes an ordinary user may still write on the disk that holds `path` (or its nearest parent).
  virtual Result<std::uint64_t> free_bytes(const Path& path) = 0;
  virtual Result<std::unique_ptr<ReadableFile>> open(const Path& path) = 0;
  // Opens below `root` and nowhere else: no "..", no absolute part, no link that leads out.
  // Source: openat2(RESOLVE_BENEATH), or a walk that refuses links where the kernel lacks it.
  virtual Result<std::unique_ptr<ReadableFile>> open_beneath(const Path& root,
                                                             std::string_view relative) = 0;
  // Creates the file when absent; keeps what it holds.
  virtual Result<std::unique_ptr<WritableFile>> open_append(const Path& path) = 0;
  // A new file (0600), locked as by lock() until it is closed: others see that it is being written.
  // Errors: conflict when it exists.
  virtual Result<std::unique_ptr<WritableFile>> create_private(const Path& path) = 0;
  // Modified now.
  virtual Result<void> touch(const Path& path) = 0;
  // Takes an exclusive lock on the file, created when absent. Errors: conflict when another
  // process still holds it after `wait_ms`.
  virtual Result<std::unique_ptr<FileLock>> lock(const Path& path, std::int64_t wait_ms) = 0;

  bool exists(const Path& path) { return stat(path).has_value(); }
};

std::unique_ptr<FileSystem> make_file_system();

}  // namespace llorch
