#include "sys/file_system.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <thread>
#include <unistd.h>

#ifdef __linux__
#include <linux/openat2.h>
#include <sys/syscall.h>
#endif

#include "base/random.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

std::unexpected<Error> fail_errno(const std::string& what, const fs::path& path, int number) {
  const std::string message = what + " " + path.string() + ": " + std::strerror(number);
  switch (number) {
    case ENOENT:
    case ENOTDIR:
      return fail(Code::not_found, message);
    case EACCES:
    case EPERM:
    case EROFS:
      return fail(Code::forbidden, message, "check the owner and mode of the folder");
    case ENOSPC:
    case EDQUOT:
      return fail(Code::insufficient_storage, message, "free some disk space");
    case EEXIST:
    case ENOTEMPTY:
      return fail(Code::conflict, message);
    case EIO:
      return fail(Code::internal, message, "the disk fails: the kernel's log (dmesg) says more");
    default:
      return fail(Code::internal, message);
  }
}

// Owns a descriptor. Threads: one.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  int get() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }

 private:
  int number_;
};

Descriptor open_retrying(int folder, const char* path, int flags, mode_t mode = 0) {
  int number = -1;
  do {
    number = ::openat(folder, path, flags | O_CLOEXEC, mode);
  } while (number < 0 && errno == EINTR);
  return Descriptor(number);
}

Result<void> write_all(int descriptor, std::span<const std::byte> bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const auto count = ::write(descriptor, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("write", path, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

Result<void> sync_descriptor(int descriptor, const fs::path& path) {
#ifdef __APPLE__
  // fsync() on macOS stops at the drive's cache.
  if (::fcntl(descriptor, F_FULLFSYNC) == 0) return {};
#endif
  if (::fsync(descriptor) != 0) return fail_errno("sync", path, errno);
  return {};
}

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

Result<void> sync_folder(const fs::path& folder) {
  const auto descriptor = open_retrying(AT_FDCWD, folder.c_str(), O_RDONLY | O_DIRECTORY);
  if (!descriptor) return fail_errno("open", folder, errno);
  // Some network disks cannot sync a folder; their rename is durable by itself.
  if (::fsync(descriptor.get()) != 0 && errno != EINVAL) return fail_errno("sync", folder, errno);
  return {};
}

class PosixLock final : public FileLock {
 public:
  explicit PosixLock(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}

 private:
  Descriptor descriptor_;
};

class PosixReadable final : public ReadableFile {
 public:
  PosixReadable(Descriptor descriptor, fs::path path, std::uint64_t size_bytes)
      : descriptor_(std::move(descriptor)), path_(std::move(path)), size_bytes_(size_bytes) {}

  std::uint64_t size_bytes() const override { return size_bytes_; }

  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) override {
    std::size_t done = 0;
    while (done < into.size()) {
      const auto count = ::pread(descriptor_.get(), into.data() + done, into.size() - done,
                                 static_cast<off_t>(offset + done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return fail_errno("read", path_, errno);
      if (count == 0) break;
      done += static_cast<std::size_t>(count);
    }
    return done;
  }

 private:
  Descriptor descriptor_;
  fs::path path_;
  std::uint64_t size_bytes_;
};

class PosixWritable final : public WritableFile {
 public:
  PosixWritable(Descriptor descriptor, fs::path path, std::uint64_t size_bytes)
      : descriptor_(std::move(descriptor)), path_(std::move(path)), size_bytes_(size_bytes) {}

  std::uint64_t size_bytes() const override { return size_bytes_; }

  Result<void> append(std::span<const std::byte> bytes) override {
    const auto written = write_all(descriptor_.get(), bytes, path_);
    if (!written) {
      // Part of it may have arrived before the disk was full: ask where the end is now.
      struct stat now{};
      if (::fstat(descriptor_.get(), &now) == 0)
        size_bytes_ = static_cast<std::uint64_t>(now.st_size);
      return written;
    }
    size_bytes_ += bytes.size();
    return {};
  }

  Result<void> truncate(std::uint64_t size_bytes) override {
    if (::ftruncate(descriptor_.get(), static_cast<off_t>(size_bytes)) != 0) {
      return fail_errno("truncate", path_, errno);
    }
    size_bytes_ = size_bytes;
    return {};
  }

  Result<void> sync() override { return sync_descriptor(descriptor_.get(), path_); }

 private:
  Descriptor descriptor_;
  fs::path path_;
  std::uint64_t size_bytes_;
};

Result<std::unique_ptr<ReadableFile>> readable(Descriptor descriptor, const fs::path& path) {
  if (!descriptor) return fail_errno("open", path, errno);
  struct stat facts{};
  if (::fstat(descriptor.get(), &facts) != 0) return fail_errno("stat", path, errno);
  if (!S_ISREG(facts.st_mode)) {
    return fail(Code::invalid_request, path.string() + ": not a regular file");
  }
  return std::make_unique<PosixReadable>(std::move(descriptor), path,
                                         static_cast<std::uint64_t>(facts.st_size));
}

// Each part is opened below the one before without following links: slower and stricter than
// openat2, which lets links that stay inside pass.
Descriptor walk_beneath(Descriptor folder, const fs::path& relative) {
  for (auto part = relative.begin(); part != relative.end(); ++part) {
    const bool last = std::next(part) == relative.end();
    const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | (last ? 0 : O_DIRECTORY);
    folder = open_retrying(folder.get(), part->c_str(), flags);
    if (!folder) return folder;
  }
  return folder;
}

Descriptor open_below(Descriptor folder, const fs::path& relative) {
#ifdef __linux__
  struct open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  const long number = ::syscall(SYS_openat2, folder.get(), relative.c_str(), &how, sizeof(how));
  // ENOSYS: before Linux 5.6. EPERM: a container's filter that does not know the call.
  if (number >= 0 || (errno != ENOSYS && errno != EPERM)) {
    return Descriptor(static_cast<int>(number));
  }
#endif
  return walk_beneath(std::move(folder), relative);
}

FileStat stat_of(const struct stat& facts) {
  FileStat result;
  if (S_ISREG(facts.st_mode)) result.kind = FileStat::Kind::file;
  if (S_ISDIR(facts.st_mode)) result.kind = FileStat::Kind::directory;
  if (S_ISLNK(facts.st_mode)) result.kind = FileStat::Kind::link;
  result.size_bytes = static_cast<std::uint64_t>(facts.st_size);
#ifdef __APPLE__
  const auto modified = facts.st_mtimespec;
#else
  const auto modified = facts.st_mtim;
#endif
  result.modified_ns = std::int64_t{modified.tv_sec} * 1'000'000'000 + modified.tv_nsec;
  result.mode = facts.st_mode & 0777;
  result.own = facts.st_uid == ::geteuid();
  return result;
}

class PosixFileSystem final : public FileSystem {
 public:
  Result<std::string> read(const Path& path, std::size_t bytes_max) override {
    const auto file = open(path);
    if (!file) return fail(file.error());
    // One byte more than allowed, and not the size: files of /proc say 0.
    std::string bytes;
    constexpr std::size_t piece_bytes = 64 * 1024;
    while (bytes.size() <= bytes_max) {
      const std::size_t before = bytes.size();
      const std::size_t want = std::min(piece_bytes, bytes_max + 1 - before);
      bytes.resize(before + want);
      const auto got =
          (*file)->read_at(before, std::as_writable_bytes(std::span(bytes).subspan(before)));
      if (!got) return fail(got.error());
      bytes.resize(before + *got);
      if (*got < want) return bytes;
    }
    return fail(Code::too_large,
                "read " + path.string() + ": more than " + std::to_string(bytes_max) + " bytes");
  }

  Result<void> write_atomic(const Path& path, std::string_view bytes) override {
    const Path temporary = path.string() + ".tmp-" + random_hex(8);
    const auto written = write_and_sync(temporary, bytes);
    const auto done = written ? rename(temporary, path) : written;
    if (!done) ::unlink(temporary.c_str());
    return done;
  }

  Result<FileStat> stat(const Path& path) override {
    struct stat facts{};
    if (::stat(path.c_str(), &facts) != 0) return fail_errno("stat", path, errno);
    return stat_of(facts);
  }

  Result<FileStat> stat_link(const Path& path) override {
    struct stat facts{};
    if (::lstat(path.c_str(), &facts) != 0) return fail_errno("stat", path, errno);
    return stat_of(facts);
  }

  Result<std::vector<std::string>> list(const Path& directory) override {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator at(directory, error), end; !error && at != end;
         at.increment(error)) {
      names.push_back(at->path().filename().string());
    }
    if (error) return fail_errno("list", directory, error.value());
    std::ranges::sort(names);
    return names;
  }

  Result<void> remove(const Path& path) override {
    if (::remove(path.c_str()) != 0 && errno != ENOENT) return fail_errno("remove", path, errno);
    return {};
  }

  Result<void> make_directories(const Path& path) override {
    std::error_code error;
    fs::create_directories(path, error);
    if (error) return fail_errno("create", path, error.value());
    return {};
  }

  Result<void> make_private_directory(const Path& path) override {
    // "a/b/" has an empty last part, which would make the wrong folder the private one.
    const Path named = path.has_filename() ? path : path.parent_path();
    if (const auto above = make_directories(folder_of(named)); !above) return above;
    if (::mkdir(named.c_str(), 0700) == 0) return {};
    const int number = errno;
    std::error_code ignored;
    if (number == EEXIST && fs::is_directory(named, ignored)) return {};
    return fail_errno("create", named, number);
  }

  Result<void> rename(const Path& from, const Path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return fail_errno("rename to", to, errno);
    return sync_folder(folder_of(to));
  }

  Result<std::uint64_t> free_bytes(const Path& path) override {
    Path at = fs::absolute(path);
    std::error_code ignored;
    while (!fs::exists(at, ignored) && at.has_relative_path()) at = at.parent_path();
    struct statvfs facts{};
    if (::statvfs(at.c_str(), &facts) != 0) return fail_errno("statvfs", at, errno);
    return std::uint64_t{facts.f_bavail} * facts.f_frsize;
  }

  Result<std::unique_ptr<ReadableFile>> open(const Path& path) override {
    // O_NONBLOCK: a named pipe must not hang us; readable() then refuses it.
    return readable(open_retrying(AT_FDCWD, path.c_str(), O_RDONLY | O_NONBLOCK), path);
  }

  Result<std::unique_ptr<ReadableFile>> open_beneath(const Path& root,
                                                     std::string_view relative) override {
    const Path below(relative);
    const bool climbs = std::ranges::find(below, Path("..")) != below.end();
    if (relative.empty() || relative.contains('\0') || below.is_absolute() || climbs) {
      return fail(Code::invalid_request, "'" + std::string(relative) + "' leaves " + root.string());
    }
    auto folder = open_retrying(AT_FDCWD, root.c_str(), O_RDONLY | O_DIRECTORY);
    if (!folder) return fail_errno("open", root, errno);
    auto file = open_below(std::move(folder), below);
    if (!file && (errno == EXDEV || errno == ELOOP)) {
      return fail(Code::invalid_request, "'" + std::string(relative) + "' leaves " + root.string());
    }
    return readable(std::move(file), root / below);
  }

  Result<std::unique_ptr<WritableFile>> open_append(const Path& path) override {
    auto descriptor = open_retrying(AT_FDCWD, path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (!descriptor) return fail_errno("open", path, errno);
    struct stat facts{};
    if (::fstat(descriptor.get(), &facts) != 0) return fail_errno("stat", path, errno);
    return std::make_unique<PosixWritable>(std::move(descriptor), path,
                                           static_cast<std::uint64_t>(facts.st_size));
  }

  Result<std::unique_ptr<WritableFile>> create_private(const Path& path) override {
    auto descriptor = open_retrying(AT_FDCWD, path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (!descriptor) return fail_errno("create", path, errno);
    if (::flock(descriptor.get(), LOCK_EX | LOCK_NB) != 0) return fail_errno("lock", path, errno);
    return std::make_unique<PosixWritable>(std::move(descriptor), path, 0);
  }

  Result<void> touch(const Path& path) override {
    if (::utimensat(AT_FDCWD, path.c_str(), nullptr, AT_SYMLINK_NOFOLLOW) != 0) {
      return fail_errno("touch", path, errno);
    }
    return {};
  }

  Result<std::unique_ptr<FileLock>> lock(const Path& path, std::int64_t wait_ms) override {
    auto descriptor = open_retrying(AT_FDCWD, path.c_str(), O_RDWR | O_CREAT, 0644);
    if (!descriptor) return fail_errno("open", path, errno);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(wait_ms);
    while (::flock(descriptor.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR) return fail_errno("lock", path, errno);
      if (std::chrono::steady_clock::now() >= deadline) {
        return fail(Code::conflict, "lock " + path.string() + ": held by another process",
                    "wait for the other llorch-pool to end, then try again");
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return std::make_unique<PosixLock>(std::move(descriptor));
  }

 private:
  Result<void> write_and_sync(const Path& path, std::string_view bytes) {
    const auto descriptor =
        open_retrying(AT_FDCWD, path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (!descriptor) return fail_errno("create", path, errno);
    const auto written = write_all(descriptor.get(), std::as_bytes(std::span(bytes)), path);
    if (!written) return written;
    return sync_descriptor(descriptor.get(), path);
  }
};

}  // namespace

std::unique_ptr<FileSystem> make_file_system() {
  return std::make_unique<PosixFileSystem>();
}

}  // namespace llorch
