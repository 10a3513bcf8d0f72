// The folder that snapshots of KV cells are kept in beyond the life of a process. What lies there
// is the truth: workers share a folder and find out from it what others wrote or removed. A file's
// time of change is when it was used last. Threads: one at a time. Lifetime: the file system and
// the clock outlive it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/prefix_cache.h"
#include "protocol/kv_file.h"
#include "sys/file_system.h"

namespace llorch {

struct KvFile {
  std::string name;
  std::uint64_t bytes = 0;
  std::int64_t used_ns = 0;  // since the epoch
};

// Which files have to go at `now_ns` so that `more_files` of `more_bytes` in all fit: those unused
// for a day, then the least recently used. Pure.
std::vector<KvFile> files_to_remove(std::vector<KvFile> files, std::int64_t now_ns,
                                    std::uint64_t bytes_max, std::size_t more_files,
                                    std::uint64_t more_bytes);

// Makes the folder (0700) where it is missing. Errors: forbidden (it is another user's, or others
// may look into it), invalid_request (it is no folder), those of the file system.
Result<void> prepare_kv_folder(FileSystem& files, const std::filesystem::path& folder);

struct KvFolderOptions {
  std::filesystem::path path;
  std::uint64_t bytes_max = 0;  // of all files together, whoever wrote them
  std::string fingerprint;      // of the states that can be used here
};

class KvFolder {
 public:
  KvFolder(FileSystem& files, const Clock& clock, KvFolderOptions options);

  struct Found {
    std::string name;
    std::string scope;
    std::vector<Token> tokens;
  };
  struct Look {
    std::vector<Found> found;     // that can be used here and are not `known`
    std::set<std::string> there;  // every name that may be used here
    std::int64_t rejected = 0;    // broken files
  };
  // Removes what is unused, left half written by a process that died, or broken.
  Look look(const std::set<std::string>& known);

  // Gives the name. Errors: too_large (alone it is more than there may be), insufficient_storage,
  // those of the file system; nothing is left of it then.
  Result<std::string> write(const KvSnapshot& snapshot);
  // Its state is what was written, by its checksum; it counts as used now. Errors: not_found
  // (purged meanwhile), invalid_request (broken, and removed), conflict (of another fingerprint).
  Result<KvSnapshot> read(const std::string& name);
  bool used(const std::string& name);  // false: it is gone
  void remove(const std::string& name);

  std::int64_t files() const { return files_count_; }
  std::int64_t bytes() const { return bytes_; }

 private:
  struct Opened {
    std::unique_ptr<ReadableFile> file;
    KvFileHead head;
    std::size_t head_bytes = 0;
  };
  std::vector<KvFile> list();
  void remove_if_abandoned(const std::string& temporary);
  // What is left.
  std::vector<KvFile> make_room(std::size_t more_files, std::uint64_t more_bytes);
  Result<Opened> open(const std::string& name);
  Result<void> write_as(const std::string& temporary, const std::string& head,
                        const KvSnapshot& snapshot);
  // One line in the log, once for a name; a broken file is removed.
  void reject(const std::string& name, const Error& error);

  FileSystem& files_;
  const Clock& clock_;
  const KvFolderOptions options_;
  const std::string prefix_;
  std::set<std::string> ignored_;
  std::int64_t files_count_ = 0;
  std::int64_t bytes_ = 0;
};

}  // namespace llorch
