#include "store/log_files.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace llorch {
namespace {

namespace fs = std::filesystem;

class PosixLogFile final : public LogFile {
 public:
  PosixLogFile(int descriptor, fs::path path) : descriptor_(descriptor), path_(std::move(path)) {}
  PosixLogFile(const PosixLogFile&) = delete;
  ~PosixLogFile() override { ::close(descriptor_); }

  Result<std::size_t> write(std::string_view bytes) override {
    while (true) {
      const auto count = ::write(descriptor_, bytes.data(), bytes.size());
      if (count > 0 || (count == 0 && bytes.empty())) return static_cast<std::size_t>(count);
      if (count < 0 && errno == EINTR) continue;
      return fail_system("write", path_, count < 0 ? errno : ENOSPC);
    }
  }

  Result<std::size_t> read_at(std::uint64_t offset, std::span<char> into) override {
    std::size_t done = 0;
    while (done < into.size()) {
      const auto count = ::pread(descriptor_, into.data() + done, into.size() - done,
                                 static_cast<off_t>(offset + done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return fail_system("read", path_, errno);
      if (count == 0) break;
      done += static_cast<std::size_t>(count);
    }
    return done;
  }

  Result<void> truncate(std::uint64_t size_bytes) override {
    if (::ftruncate(descriptor_, static_cast<off_t>(size_bytes)) != 0) {
      return fail_system("truncate", path_, errno);
    }
    return {};
  }

  Result<std::uint64_t> size_bytes() override {
    struct stat facts{};
    if (::fstat(descriptor_, &facts) != 0) return fail_system("stat", path_, errno);
    return static_cast<std::uint64_t>(facts.st_size);
  }

 private:
  int descriptor_;
  fs::path path_;
};

class PosixLogFiles final : public LogFiles {
 public:
  Result<void> make_folder(const Path& folder) override { return make_private_folder(folder); }

  Result<std::vector<std::string>> list(const Path& folder) override {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
      names.push_back(at->path().filename().string());
    }
    if (error) return fail_system("list", folder, error.value());
    std::ranges::sort(names);
    return names;
  }

  Result<std::unique_ptr<LogFile>> open(const Path& path) override { return opened(path, 0); }
  Result<std::unique_ptr<LogFile>> create(const Path& path) override {
    return opened(path, O_CREAT | O_EXCL);
  }

  Result<void> remove(const Path& path) override {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_system("remove", path, errno);
    return {};
  }

 private:
  static Result<std::unique_ptr<LogFile>> opened(const Path& path, int flags) {
    const int descriptor =
        ::open(path.c_str(), O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    if (descriptor < 0) return fail_system("open", path, errno);
    return std::make_unique<PosixLogFile>(descriptor, path);
  }
};

}  // namespace

std::unique_ptr<LogFiles> make_log_files() {
  return std::make_unique<PosixLogFiles>();
}

std::unexpected<Error> fail_system(const std::string& what, const fs::path& path, int number) {
  std::string message = what + " " + path.string() + ": " + std::strerror(number);
  switch (number) {
    case ENOENT:
    case ENOTDIR:
      return fail(Code::not_found, std::move(message));
    case EACCES:
    case EPERM:
    case EROFS:
      return fail(Code::forbidden, std::move(message), "check the owner and mode of the folder");
    case ENOSPC:
    case EDQUOT:
      return fail(Code::insufficient_storage, std::move(message), "free some disk space");
    case EEXIST:
      return fail(Code::conflict, std::move(message));
    case EIO:
      return fail(Code::internal, std::move(message),
                  "the disk fails: the kernel's log (dmesg) says more");
    default:
      return fail(Code::internal, std::move(message));
  }
}

Result<void> make_private_folder(const fs::path& folder) {
  std::error_code error;
  if (fs::is_directory(folder, error)) return {};
  const fs::path absolute = fs::absolute(folder, error).lexically_normal();
  // "a/b/" has an empty last part, which would make the wrong folder the private one.
  const fs::path named = absolute.has_filename() ? absolute : absolute.parent_path();
  fs::create_directories(named.parent_path(), error);
  if (error) return fail_system("create", named.parent_path(), error.value());
  if (::mkdir(named.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail_system("create", named, errno);
  }
  return {};
}

}  // namespace llorch
