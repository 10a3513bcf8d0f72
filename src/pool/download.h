// One file from one URL to one place on disk: resumed, checked, renamed when whole.
// Threads: one. Lifetime: a call. The partial file is FINAL.part with FINAL.part.json beside it:
// {"etag":…,"sha256":…}; kill -9 at any moment leaves them to be resumed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "pool/context.h"

namespace llorch {

struct DownloadRequest {
  std::string url;
  std::string bearer;
  std::filesystem::path target;  // its folder exists
  std::uint64_t size_bytes = 0;  // 0 = not known before
  std::string sha256;            // empty = not known before
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;
  // Of the bytes that an earlier run left, while they are read again for the hash.
  std::function<void(std::uint64_t done, std::uint64_t total)> checking;
  std::function<Error(const WebReply&)> explain;  // of 4xx
  bool other_source = false;                      // waits: nobody there is said at once
};

// Gives the file's sha256. Errors: unreachable, timeout (after attempts without progress),
// insufficient_storage (before the first byte where the size is known), conflict (the size or the
// sha256 is not the promised one; nothing is kept of a wrong file), those of `explain`.
Result<std::string> download_file(const PoolContext& context, const DownloadRequest& request);

// The sha256 of a file. `progress` as above.
Result<std::string> hash_file(FileSystem& files, const std::filesystem::path& path,
                              const std::function<void(std::uint64_t, std::uint64_t)>& progress);

// Copies a file to one that gets its name when it is whole. Gives the sha256 of what was read.
// `progress` sees the bytes copied. Errors: conflict (it shrank meanwhile), insufficient_storage.
Result<std::string> copy_file(FileSystem& files, const std::filesystem::path& from,
                              const std::filesystem::path& to,
                              const std::function<void(std::uint64_t done)>& progress);

// Errors: insufficient_storage, with what is missing and where.
Result<void> require_disk(const PoolContext& context, const std::filesystem::path& folder,
                          std::uint64_t bytes);

}  // namespace llorch
