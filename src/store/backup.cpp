#include "store/backup.h"

#include <cerrno>
#include <fcntl.h>
#include <string>
#include <unistd.h>

#include "base/random.h"
#include "store/database.h"
#include "store/database_lock.h"
#include "store/log_files.h"
#include "store/migrations.h"
#include "sys/file_system.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

Result<void> sync_file(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return fail_system("open", path, errno);
  const int failed = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  if (failed != 0) return fail_system("sync", path, failed);
  return {};
}

// A database of llorch, whole, that this program can read.
Result<void> check(Database& database, const std::string& name) {
  const auto version = database_version(database, name);
  if (!version) return fail(version.error());
  if (*version == 0) {
    return fail(Code::invalid_request, "database " + name + " is empty", "name another file");
  }
  std::string verdict;
  const auto asked =
      database.query("PRAGMA quick_check(1)", {}, [&](Row& row) { verdict = row.text(); });
  if (!asked) return asked;
  if (verdict != "ok") {
    return fail(Code::internal, "database " + name + " is damaged: " + verdict,
                "use an older backup");
  }
  return {};
}

// Copies what a database holds into `to`, which must not exist, and syncs it.
Result<void> copy_database(const fs::path& from, const fs::path& to) {
  auto database = Database::open(from, Database::Mode::existing);
  if (!database) return fail(database.error());
  if (const auto sound = check(*database, from.string()); !sound) return sound;
  // SQLite takes an empty file that is there, with its mode.
  const int made = ::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (made < 0) return fail_system("create", to, errno);
  ::close(made);
  const auto copied = database->execute("VACUUM INTO ?1", {to.string()});
  if (!copied) return copied;
  return sync_file(to);
}

// Copies to a temporary name beside `to`, then calls `place`; leaves no other name behind.
template <class Place>
Result<void> copy_and_place(const fs::path& from, const fs::path& to, const Place& place) {
  const fs::path temporary = to.string() + ".tmp-" + random_hex(8);
  const auto copied = copy_database(from, temporary);
  const auto done = copied ? place(temporary) : copied;
  if (!done) ::unlink(temporary.c_str());
  return done;
}

Result<void> must_exist(FileSystem& files, const fs::path& path) {
  const auto facts = files.stat(path);
  if (!facts) return fail(facts.error());
  if (facts->kind == FileStat::Kind::file) return {};
  return fail(Code::invalid_request, path.string() + " is not a file");
}

}  // namespace

Result<void> backup_database(const fs::path& database, const fs::path& to) {
  const auto files = make_file_system();
  if (const auto there = must_exist(*files, database); !there) return there;
  const auto refuse = [&] {
    return fail(Code::conflict, to.string() + " exists already", "name a file that does not");
  };
  if (files->stat_link(to)) return refuse();
  return copy_and_place(database, to, [&](const fs::path& temporary) -> Result<void> {
    if (files->stat_link(to)) return refuse();
    return files->rename(temporary, to);
  });
}

Result<void> restore_database(const fs::path& from, const fs::path& database) {
  const auto files = make_file_system();
  if (const auto there = must_exist(*files, from); !there) return there;
  std::error_code ignored;
  const fs::path real = fs::weakly_canonical(database, ignored);
  const auto folder = make_private_folder(real.has_parent_path() ? real.parent_path() : ".");
  if (!folder) return folder;
  const auto lock = DatabaseLock::take(real);
  if (!lock) return fail(lock.error());
  return copy_and_place(from, real, [&](const fs::path& temporary) -> Result<void> {
    // Never the new file beside the old log: SQLite would write the one into the other.
    for (const char* suffix : {"-wal", "-shm"}) {
      if (const auto gone = files->remove(real.string() + suffix); !gone) return gone;
    }
    return files->rename(temporary, real);
  });
}

}  // namespace llorch
