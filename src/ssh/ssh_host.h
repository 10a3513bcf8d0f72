// One host over the system's OpenSSH: runs llorch-pool there. The user's configuration, agent and
// jump hosts stay in force; nothing is ever asked; connections are shared for a minute.
// Threads: any, one call at a time for each object. Lifetime: the runner outlives it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/limits.h"
#include "base/result.h"
#include "ssh/target.h"
#include "sys/process_runner.h"

namespace llorch {

struct RemoteLimits {
  std::int64_t limit_ms = limits::ssh_answer_ms;                // then both ends are ended
  std::size_t output_bytes_max = limits::ssh_output_bytes_max;  // more is an error
  // In a daemon: signals are not touched, and the run ends when this becomes true.
  std::function<bool()> stop = {};
};

struct RemoteOutcome {
  int exit_status = 0;  // of llorch-pool there; 128 + n where a signal ended it
  std::string out;
  std::string err;
};

class SshHost {
 public:
  virtual ~SshHost() = default;
  // Runs llorch-pool there and collects what it prints. Any exit status of its own is an outcome.
  // Errors: forbidden (host key, login), unreachable, timeout (the limit, or no answer),
  // not_found (no llorch-pool there, no ssh here), too_large, invalid_request.
  virtual Result<RemoteOutcome> run(std::span<const std::string> arguments,
                                    const RemoteLimits& limits) = 0;
  // The same over our own stdout and stderr; on a terminal with one there. Ctrl-C and SIGTERM end
  // it on both sides. Gives its exit status, or 130 or 143 after a signal. Errors: the same.
  virtual Result<int> run_attached(std::span<const std::string> arguments) = 0;
  // Runs a sh script there with $1, $2 …, its stdin this file (empty path: none).
  // Errors: the same; any exit status is an outcome.
  virtual Result<RemoteOutcome> run_script(std::string_view script,
                                           std::span<const std::string> arguments,
                                           const std::filesystem::path& input,
                                           const RemoteLimits& limits) = 0;
  // The command line that runs such a script from here, for a pipeline of several processes; ssh's
  // own messages go to its stderr. Errors: invalid_request, too_large.
  virtual Result<std::vector<std::string>> script_argv(
      std::string_view script, std::span<const std::string> arguments) const = 0;
};

// What of our surroundings an SshHost needs; tests give their own.
struct SshSurroundings {
  ProcessRunner& processes;
  std::filesystem::path socket_folder;  // of shared connections; empty: each has its own
  bool terminal = false;                // stdin, stdout and stderr are one
};
// Of this process. The folder is llorch-ssh below $XDG_RUNTIME_DIR, else llorch-ssh-UID below /tmp:
// ours alone (0700), short enough for a socket and free of what ssh would expand, else empty.
SshSurroundings ssh_surroundings(ProcessRunner& processes);

std::unique_ptr<SshHost> make_ssh_host(PoolHost host, const SshSurroundings& surroundings);

// The options before the command: ssh … -- HOST. Pure; `log` gets ssh's own messages.
std::vector<std::string> ssh_options(const SshTarget& target,
                                     const std::filesystem::path& socket_folder,
                                     const std::filesystem::path& log, RemoteEnd end);

}  // namespace llorch
