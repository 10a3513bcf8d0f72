#include "ssh/ssh_host.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "ssh/failure.h"
#include "sys/host.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

constexpr int ssh_failed = 255;  // ssh(1): "or with 255 if an error occurred"
constexpr int may_not_run = 126;
constexpr int not_there = 127;

// What ssh itself has to say, apart from what the command there prints. Removed at the end; beside
// the sockets, so that what a SIGKILL leaves goes with the login.
class LogFile {
 public:
  explicit LogFile(const fs::path& socket_folder) {
    std::error_code none;
    for (const auto& folder : {socket_folder, fs::temp_directory_path(none)}) {
      std::string name = (folder / "llorch-ssh-log-XXXXXX").string();
      const int file = folder.empty() ? -1 : ::mkstemp(name.data());
      if (file < 0) continue;
      ::close(file);
      path_ = name;
      return;
    }
  }
  ~LogFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  const fs::path& path() const { return path_; }
  std::string text() const {
    std::ifstream file(path_, std::ios::binary);
    std::string text(limits::ssh_log_bytes_max, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(file.gcount()));
    return text;
  }

 private:
  fs::path path_;
};

// Letters that neither ssh's option parser nor its expansion of % and ${…} reads as anything else.
bool is_plain_path(const std::string& path) {
  return path.starts_with("/") &&
         path.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
             "._-/") == path.npos;
}

// %C, which ssh fills in, is 40 hex digits.
bool fits_socket(const fs::path& folder) {
  return is_plain_path(folder.string()) &&
         folder.string().size() + 41 <= static_cast<std::size_t>(limits::ssh_socket_bytes_max);
}

// Whoever may write there could answer in a host's place: it must be ours alone, and no link.
bool make_private(const fs::path& folder) {
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return false;
  struct stat facts{};
  return ::lstat(folder.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode) &&
         facts.st_uid == ::geteuid() && (facts.st_mode & 077) == 0;
}

class OpenSshHost final : public SshHost {
 public:
  OpenSshHost(PoolHost host, const SshSurroundings& surroundings)
      : host_(std::move(host)), surroundings_(surroundings) {}

  Result<RemoteOutcome> run(std::span<const std::string> arguments,
                            const RemoteLimits& limits) override {
    const auto command = remote_command(host_, arguments, RemoteEnd::watched);
    if (!command) return fail(command.error());
    auto outcome = collect(*command, {}, limits);
    if (outcome && (outcome->exit_status == not_there || outcome->exit_status == may_not_run)) {
      return fail(explain_no_pool(host_, outcome->exit_status));
    }
    return outcome;
  }

  Result<RemoteOutcome> run_script(std::string_view script, std::span<const std::string> arguments,
                                   const fs::path& input, const RemoteLimits& limits) override {
    const auto command = remote_script(script, arguments);
    if (!command) return fail(command.error());
    return collect(*command, input, limits);
  }

  Result<std::vector<std::string>> script_argv(
      std::string_view script, std::span<const std::string> arguments) const override {
    auto command = remote_script(script, arguments);
    if (!command) return fail(command.error());
    auto words = ssh_options(host_.target, surroundings_.socket_folder, {}, RemoteEnd::watched);
    words.push_back(std::move(*command));
    return words;
  }

  Result<int> run_attached(std::span<const std::string> arguments) override {
    const auto end = surroundings_.terminal ? RemoteEnd::terminal : RemoteEnd::watched;
    const auto command = remote_command(host_, arguments, end);
    if (!command) return fail(command.error());
    const LogFile log(surroundings_.socket_folder);
    AttachRequest request;
    request.argv = argv(*command, log, end);
    request.environment = environment();
    request.share_terminal = surroundings_.terminal;
    request.stop_ms = limits::ssh_stop_ms;
    const auto outcome = surroundings_.processes.run_attached(request);
    if (!outcome) return fail(without_ssh(outcome.error()));
    if (outcome->interrupted != 0) {
      return outcome->interrupted == SIGTERM ? exit_terminated : exit_interrupted;
    }
    const int status = outcome->exit_status;
    if (status == not_there || status == may_not_run) return fail(explain_no_pool(host_, status));
    if (status < 0 || status == ssh_failed) {
      return fail(explain_ssh_failure(host_.target, log.text()));
    }
    return status;
  }

 private:
  std::vector<std::string> argv(const std::string& command, const LogFile& log,
                                RemoteEnd end) const {
    auto words = ssh_options(host_.target, surroundings_.socket_folder, log.path(), end);
    words.push_back(command);
    return words;
  }

  // BatchMode does not reach the ssh of a jump host, which would open a window to ask.
  static std::map<std::string, std::string> environment() {
    return {{"SSH_ASKPASS_REQUIRE", "never"}};
  }

  static Error without_ssh(Error error) {
    if (error.code == Code::not_found) error.next = "install it: apt-get install openssh-client";
    return error;
  }

  Result<RemoteOutcome> collect(const std::string& command, const fs::path& input,
                                const RemoteLimits& limits) const {
    const LogFile log(surroundings_.socket_folder);
    RunRequest request;
    request.argv = argv(command, log, RemoteEnd::watched);
    request.limit_ms = limits.limit_ms;
    request.output_bytes_max = limits.output_bytes_max + 1;  // to see that there was more
    request.environment = environment();
    request.stop = limits.stop;
    request.hold_stdin = input.empty();
    request.own_session = true;
    request.obey_signals = !limits.stop;
    request.input = input;
    auto ran = surroundings_.processes.run(request);
    if (!ran) return fail(without_ssh(ran.error()));
    const std::string name = name_of(host_.target);
    if (ran->timed_out) {
      return fail(Code::timeout,
                  "host " + name + ": no end after " + std::to_string(limits.limit_ms / 1000) +
                      " s; what ran there was told to stop",
                  "llorch pool doctor --host " + name);
    }
    if (ran->exit_status < 0 || ran->exit_status == ssh_failed) {
      return fail(explain_ssh_failure(host_.target, log.text()));
    }
    if (ran->out.size() > limits.output_bytes_max || ran->err.size() > limits.output_bytes_max) {
      return fail(Code::too_large,
                  "host " + name + ": printed more than " +
                      std::to_string(limits.output_bytes_max) + " bytes",
                  "run it there by hand: ssh " + name);
    }
    return RemoteOutcome{ran->exit_status, std::move(ran->out), std::move(ran->err)};
  }

  PoolHost host_;
  SshSurroundings surroundings_;
};

}  // namespace

SshSurroundings ssh_surroundings(ProcessRunner& processes) {
  SshSurroundings surroundings{.processes = processes};
  const std::string user = std::to_string(::geteuid());
  std::vector<fs::path> folders;
  if (const auto runtime = environment_value("XDG_RUNTIME_DIR")) {
    folders.push_back(fs::path(*runtime) / "llorch-ssh");
  }
  folders.emplace_back("/tmp/llorch-ssh-" + user);
  for (const auto& folder : folders) {
    if (!fits_socket(folder) || !make_private(folder)) continue;
    surroundings.socket_folder = folder;
    break;
  }
  surroundings.terminal = ::isatty(0) == 1 && ::isatty(1) == 1 && ::isatty(2) == 1;
  return surroundings;
}

std::unique_ptr<SshHost> make_ssh_host(PoolHost host, const SshSurroundings& surroundings) {
  return std::make_unique<OpenSshHost>(std::move(host), surroundings);
}

std::vector<std::string> ssh_options(const SshTarget& target, const fs::path& socket_folder,
                                     const fs::path& log, RemoteEnd end) {
  std::vector<std::string> words = {"ssh", end == RemoteEnd::terminal ? "-t" : "-T"};
  if (!log.empty()) words.insert(words.end(), {"-E", log.string()});
  const auto option = [&](const std::string& text) { words.insert(words.end(), {"-o", text}); };
  option("BatchMode=yes");
  option("LogLevel=ERROR");  // no banners; "Connection closed" is ours to explain
  option("ConnectTimeout=" + std::to_string(limits::connect_ms / 1000));
  option("ServerAliveInterval=" + std::to_string(limits::probe_after_s));
  option("ServerAliveCountMax=" + std::to_string(limits::probes_max));
  // A forwarding of the user's own session would fail where that one runs already.
  option("ClearAllForwardings=yes");
  option("RemoteCommand=none");
  if (socket_folder.empty()) {
    option("ControlPath=none");
  } else {
    option("ControlMaster=auto");
    option("ControlPath=" + socket_folder.string() + "/%C");
    option("ControlPersist=" + std::to_string(limits::ssh_persist_s));
  }
  if (!target.user.empty()) words.insert(words.end(), {"-l", target.user});
  words.insert(words.end(), {"--", target.host});
  return words;
}

}  // namespace llorch
