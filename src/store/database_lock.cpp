#include "store/database_lock.h"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <string>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "store/log_files.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

std::string holder_of(int descriptor) {
  std::array<char, 24> digits{};
  const auto count = ::pread(descriptor, digits.data(), digits.size() - 1, 0);
  std::string pid = count > 0 ? std::string(digits.data(), static_cast<std::size_t>(count)) : "";
  while (!pid.empty() && pid.back() == '\n') pid.pop_back();
  return pid;
}

}  // namespace

Result<DatabaseLock> DatabaseLock::take(const fs::path& database) {
  const fs::path path = database.string() + ".lock";
  DatabaseLock lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (lock.descriptor_ < 0) return fail_system("open", path, errno);
  int locked = -1;
  do {
    locked = ::flock(lock.descriptor_, LOCK_EX | LOCK_NB);
  } while (locked != 0 && errno == EINTR);
  if (locked != 0 && errno != EWOULDBLOCK) return fail_system("lock", path, errno);
  if (locked != 0) {
    const std::string pid = holder_of(lock.descriptor_);
    return fail(Code::conflict,
                "database " + database.string() + " is in use by process " +
                    (pid.empty() ? "(unknown)" : pid),
                pid.empty() ? "stop the other orchestratord" : "stop it first: kill " + pid);
  }
  // Best effort: without it the lock holds as well, only the message of the other is poorer.
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock.descriptor_, 0) == 0) {
    static_cast<void>(!::pwrite(lock.descriptor_, pid.data(), pid.size(), 0));
  }
  return lock;
}

DatabaseLock::DatabaseLock(DatabaseLock&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)) {}
DatabaseLock& DatabaseLock::operator=(DatabaseLock&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}
// The file stays: to delete it would let a third process lock a new one of the same name.
DatabaseLock::~DatabaseLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<void> make_private_file(const fs::path& path) {
  const auto folder = make_private_folder(path.has_parent_path() ? path.parent_path() : ".");
  if (!folder) return folder;
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) return fail_system("open", path, errno);
  const int failed = ::fchmod(descriptor, 0600) == 0 ? 0 : errno;
  ::close(descriptor);
  if (failed != 0) return fail_system("chmod", path, failed);
  for (const char* suffix : {"-wal", "-shm"}) {
    const fs::path beside = path.string() + suffix;
    if (::chmod(beside.c_str(), 0600) != 0 && errno != ENOENT) {
      return fail_system("chmod", beside, errno);
    }
  }
  return {};
}

}  // namespace llorch
