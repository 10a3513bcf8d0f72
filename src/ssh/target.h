// Where an ssh goes and the one string that it runs there. The only place that decides which hosts,
// users and arguments may reach a command line; everything else is refused.
// Pure. Threads: any. Lifetime: plain values.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/settings.h"

namespace llorch {

// What may follow `ssh -l USER --`. Only parse_ssh_target() and pool_host() make one.
struct SshTarget {
  std::string user;  // empty: ssh's own choice
  std::string host;  // a name, an alias of ~/.ssh/config, an IPv4 or bare IPv6 address
  bool operator==(const SshTarget&) const = default;
};

// "HOST" or "USER@HOST"; an IPv6 address may be in brackets. Shape: names of letters, digits and
// ". _ -", the first one a letter, a digit or "_"; a user may hold "+" too.
// Errors: invalid_request, also for a port, which belongs into ~/.ssh/config.
Result<SshTarget> parse_ssh_target(std::string_view text);
// "USER@HOST" or "HOST", as a person would type it after `ssh`.
std::string name_of(const SshTarget& target);

// A host with a llorch-pool on it.
struct PoolHost {
  SshTarget target;
  std::string root;     // LLORCH_ROOT there, absolute or "~/…"; empty: llorch-pool's own choice
  std::string command;  // llorch-pool there: absolute, "~/…" or a bare name; empty: usual places
};

// One [pools.NAME] checked. Errors: invalid_request, naming the field.
Result<PoolHost> pool_host(const PoolSettings& settings);
// What --host says: the NAME of a [pools.NAME], else a target of its own.
// Errors: invalid_request.
Result<PoolHost> find_pool_host(const Settings& settings, std::string_view name);

// One word for any POSIX shell, and for fish; csh takes all but newlines.
// Errors: invalid_request (a NUL byte: no argument can hold one).
Result<std::string> quote_for_shell(std::string_view argument);

// How a command there learns that nobody wants it any more.
enum class RemoteEnd {
  watched,   // by the end of its stdin, which is empty until then
  terminal,  // by the signals of its terminal
};
// The command line that starts llorch-pool there with these arguments. A status of 255 becomes 1,
// so that 255 is always ssh's own; 127: llorch-pool is not there.
// Errors: invalid_request (NUL), too_large (more than the system takes as one argument).
Result<std::string> remote_command(const PoolHost& host, std::span<const std::string> arguments,
                                   RemoteEnd end);

// Runs `script` (sh) there with $1, $2 … set, whatever the login shell is. Errors: as above.
Result<std::string> remote_script(std::string_view script, std::span<const std::string> arguments);

}  // namespace llorch
