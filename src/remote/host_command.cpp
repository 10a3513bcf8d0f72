#include "remote/host_command.h"

#include <boost/json.hpp>
#include <sys/stat.h>
#include <utility>

#include "base/limits.h"
#include "console/json_output.h"
#include "console/report.h"
#include "console/table.h"
#include "pool/root.h"
#include "remote/pool_table.h"
#include "sys/host.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

// New files get the old one's permissions while this lives: it may hold a token.
class SameMode {
 public:
  explicit SameMode(const fs::path& file) {
    struct stat facts{};
    const mode_t mode = ::stat(file.c_str(), &facts) == 0 ? facts.st_mode & 0777 : 0600;
    before_ = ::umask(0777 & ~mode);
  }
  ~SameMode() { ::umask(before_); }
  SameMode(const SameMode&) = delete;
  SameMode& operator=(const SameMode&) = delete;

 private:
  mode_t before_;
};

Result<void> change(const HostCommand& command, FileSystem& files, const fs::path& file) {
  if (const auto made = files.make_directories(file.parent_path()); !made) return made;
  const auto lock = files.lock(file.string() + ".lock", limits::lock_wait_ms);
  if (!lock) return fail(lock.error());
  auto text = files.read(file, limits::settings_bytes_max);
  if (!text && text.error().code == Code::not_found) text = std::string{};
  if (!text) return fail(text.error());
  auto changed = command.kind == HostCommand::Kind::add
                     ? with_pool(*text, command.name, command.pool)
                     : without_pool(*text, command.name);
  if (!changed) {
    Error error = changed.error();
    error.message = file.string() + ": " + error.message;
    return fail(std::move(error));
  }
  const SameMode mode(file);
  return files.write_atomic(file, *changed);
}

Result<Settings> settings_now(FileSystem& files) {
  return load_settings(default_settings_sources(find_root(files).path));
}

Result<int> list(FileSystem& files, bool as_json) {
  const auto settings = settings_now(files);
  if (!settings) return fail(settings.error());
  if (as_json) {
    json::array hosts;
    for (const auto& [name, pool] : settings->pools) {
      hosts.push_back({{"name", name},
                       {"host", pool.host},
                       {"user", pool.user},
                       {"root", pool.root},
                       {"command", pool.command}});
    }
    print_json({{"hosts", std::move(hosts)}});
    return exit_ok;
  }
  Table table(
      {{"NAME"}, {"HOST", false, true}, {"USER"}, {"ROOT", false, true}, {"COMMAND", false, true}});
  for (const auto& [name, pool] : settings->pools) {
    table.add({name, pool.host, pool.user, pool.root, pool.command});
  }
  print_text(settings->pools.empty() ? "No hosts\n" : table.render());
  if (settings->pools.empty()) print_next("llorch host add NAME --host HOST");
  return exit_ok;
}

}  // namespace

Result<fs::path> user_settings_file() {
  if (const auto named = environment_value("LLORCH_CONFIG")) return fs::path(*named);
  const auto home = environment_value("HOME");
  if (!home) {
    return fail(Code::not_found, "HOME: is not set, so there is no llorch.toml of this user",
                "name one: LLORCH_CONFIG=/path/llorch.toml");
  }
  return fs::path(*home) / ".config/llorch/llorch.toml";
}

Result<int> run_host_command(const HostCommand& command, FileSystem& files, const fs::path& file) {
  if (command.kind == HostCommand::Kind::list) return list(files, command.json);
  HostCommand wanted = command;
  if (wanted.pool.host.empty()) wanted.pool.host = wanted.name;
  std::error_code none;
  const auto real = fs::weakly_canonical(file, none);  // a link stays one
  const auto& target = none ? file : real;
  if (const auto changed = change(wanted, files, target); !changed) return fail(changed.error());
  if (command.kind == HostCommand::Kind::remove) {
    print_text("Removed " + command.name + " from " + target.string() + "\n");
    return exit_ok;
  }
  print_text("Added " + command.name + " to " + target.string() + "\n");
  // A nearer llorch.toml may hold the same name, and wins.
  const auto settings = settings_now(files);
  if (settings) {
    const auto found = settings->pools.find(command.name);
    if (found != settings->pools.end() && found->second.host != wanted.pool.host) {
      print_warning("another llorch.toml says " + found->second.host + " for " + command.name);
    }
  }
  print_next("llorch pool status --host " + command.name);
  return exit_ok;
}

}  // namespace llorch
