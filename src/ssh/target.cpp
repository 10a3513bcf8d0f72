#include "ssh/target.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cctype>
#include <vector>

#include "base/limits.h"

namespace llorch {
namespace {

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// Never a leading '-' (an option), blank, control character or anything a shell could read: ssh
// hands host and user to ProxyCommand and Match exec, which are shell commands.
bool is_name(std::string_view text, std::string_view more, std::size_t bytes_max) {
  if (text.empty() || text.size() > bytes_max) return false;
  if (!is_letter_or_digit(text.front()) && text.front() != '_') return false;
  return std::ranges::all_of(text, [&](char c) {
    return is_letter_or_digit(c) || more.find(c) != std::string_view::npos;
  });
}

// "fe80::1" or "fe80::1%eth0".
bool is_ipv6(std::string_view text) {
  const auto percent = text.find('%');
  if (percent != text.npos && !is_name(text.substr(percent + 1), "._-", 15)) return false;
  const std::string address(text.substr(0, percent));
  const bool plain = std::ranges::all_of(
      address, [](unsigned char c) { return std::isxdigit(c) != 0 || c == ':' || c == '.'; });
  in6_addr parsed{};
  return plain && address.contains(':') && ::inet_pton(AF_INET6, address.c_str(), &parsed) == 1;
}

// Nothing hostile is printed back raw: report() shows one line, and this keeps it short.
std::string shown(std::string_view text) {
  constexpr std::size_t bytes_shown_max = 80;
  return "'" + std::string(text.substr(0, bytes_shown_max)) + "'";
}

std::unexpected<Error> refuse(std::string_view text, const std::string& why, std::string next) {
  return fail(Code::invalid_request, "host " + shown(text) + ": " + why, std::move(next));
}

bool has_control(std::string_view text) {
  return std::ranges::any_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

// A path there: absolute or below the home folder.
bool is_remote_path(std::string_view text) {
  constexpr std::size_t path_bytes_max = 4096;
  return (text.starts_with("/") || text.starts_with("~/")) && text.size() <= path_bytes_max &&
         !has_control(text);
}

Result<PoolHost> with_places(SshTarget target, const PoolSettings& settings) {
  const auto wrong = [](const char* field, const std::string& value, const char* want) {
    return fail(Code::invalid_request, std::string(field) + " " + shown(value) + ": want " + want,
                "correct it under [pools.NAME] of llorch.toml");
  };
  constexpr std::size_t name_bytes_max = 255;
  if (!settings.root.empty() && !is_remote_path(settings.root)) {
    return wrong("root", settings.root, "an absolute path, or one that starts with ~/");
  }
  if (!settings.command.empty() && !is_remote_path(settings.command) &&
      !is_name(settings.command, "._-+", name_bytes_max)) {
    return wrong("command", settings.command,
                 "the path of llorch-pool there, or its name in the PATH");
  }
  return PoolHost{std::move(target), settings.root, settings.command};
}

// $1 root, $2 command, then the arguments. Leaves the program in $p, or ends with 127. The usual
// places are tried by path: without a login the PATH is bare. No quote ' occurs in any script here.
constexpr std::string_view find_program =
    R"(r=$1 p=$2; shift 2; )"
    R"(case $r in "~/"*) r=$HOME/${r#??};; esac; case $p in "~/"*) p=$HOME/${p#??};; esac; )"
    R"([ -z "$r" ] || { LLORCH_ROOT=$r; export LLORCH_ROOT; }; )"
    R"sh([ -n "$p" ] || for p in "$HOME/.local/bin/llorch-pool" "$(command -v llorch-pool)" )sh"
    R"(/usr/local/bin/llorch-pool /opt/llorch/bin/llorch-pool /usr/bin/llorch-pool; )"
    R"(do [ -x "$p" ] && break; done; )"
    R"(command -v "$p" >/dev/null 2>&1 || exit 127; )";

// A connection that ends leaves what it started running, unless there is a terminal. So a second
// process reads stdin, and its end is the order to stop. SIGTERM, since a shell makes what it
// starts in the background deaf to SIGINT.
constexpr std::string_view run_watched =
    R"(exec 3<&0; "$p" "$@" </dev/null 3<&- & c=$!; )"
    R"(( cat <&3; kill -TERM $c ) >/dev/null 2>&1 & w=$!; exec 3<&- </dev/null; )"
    R"(wait $c; s=$?; exec 2>/dev/null; kill $w; )";

// The shell outlives Ctrl-C, to tell how the program ended.
constexpr std::string_view run_on_terminal = R"(trap : INT; "$p" "$@"; s=$?; )";

// 255 is left to ssh itself.
constexpr std::string_view tell_status = R"([ $s -ne 255 ] || s=1; exit $s)";

}  // namespace

Result<SshTarget> parse_ssh_target(std::string_view text) {
  const std::string want = "give a host name, an alias of ~/.ssh/config, or USER@HOST";
  SshTarget target;
  std::string_view host = text;
  if (const auto at = text.rfind('@'); at != text.npos) {
    const auto user = text.substr(0, at);
    if (!is_name(user, "._-+", limits::ssh_user_bytes_max)) {
      return refuse(text, "the user is none that ssh could be given", want);
    }
    target.user = user;
    host = text.substr(at + 1);
  }
  if (host.starts_with("[") && host.ends_with("]") && is_ipv6(host.substr(1, host.size() - 2))) {
    host = host.substr(1, host.size() - 2);
  } else if (is_name(host, "._-:", limits::ssh_host_bytes_max) && host.contains(':') &&
             !is_ipv6(host)) {
    return refuse(text, "a port is no part of a host's name",
                  "put 'Host NAME', 'HostName …' and 'Port …' into ~/.ssh/config");
  } else if (!is_name(host, "._-", limits::ssh_host_bytes_max) && !is_ipv6(host)) {
    return refuse(text, host.empty() ? "is empty" : "is no name or address of a host", want);
  }
  target.host = host;
  return target;
}

std::string name_of(const SshTarget& target) {
  return target.user.empty() ? target.host : target.user + "@" + target.host;
}

Result<PoolHost> pool_host(const PoolSettings& settings) {
  auto target = parse_ssh_target(settings.host);
  if (!target) return fail(target.error());
  if (!settings.user.empty()) {
    if (!is_name(settings.user, "._-+", limits::ssh_user_bytes_max)) {
      return fail(Code::invalid_request,
                  "user " + shown(settings.user) + ": is none that ssh could be given",
                  "correct it under [pools.NAME] of llorch.toml");
    }
    target->user = settings.user;
  }
  return with_places(std::move(*target), settings);
}

Result<PoolHost> find_pool_host(const Settings& settings, std::string_view name) {
  const auto found = settings.pools.find(name);
  if (found != settings.pools.end()) return pool_host(found->second);
  return pool_host({.host = std::string(name)});
}

Result<std::string> quote_for_shell(std::string_view argument) {
  if (argument.find('\0') != argument.npos) {
    return fail(Code::invalid_request, "an argument: holds a NUL byte", "leave it out");
  }
  // Between quotes ' everything is itself in a POSIX shell. Three characters are put outside, each
  // behind a backslash: the quote, the backslash (fish reads it inside too) and ! (so does csh).
  std::string quoted;
  bool open = false;
  for (const char c : argument) {
    const bool outside = c == '\'' || c == '\\' || c == '!';
    if (outside == open) {
      quoted += '\'';
      open = !open;
    }
    if (outside) quoted += '\\';
    quoted += c;
  }
  if (open) quoted += '\'';
  return argument.empty() ? "''" : quoted;
}

Result<std::string> remote_script(std::string_view script, std::span<const std::string> arguments) {
  std::string line = "exec sh -c";
  std::vector<std::string_view> words = {script, "llorch"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  for (const auto word : words) {
    const auto quoted = quote_for_shell(word);
    if (!quoted) return fail(quoted.error());
    line += " " + *quoted;
    if (line.size() > limits::ssh_command_bytes_max) {
      return fail(Code::too_large, "the command line: is too long for another host",
                  "shorten the arguments to 96 KiB in all");
    }
  }
  return line;
}

Result<std::string> remote_command(const PoolHost& host, std::span<const std::string> arguments,
                                   RemoteEnd how) {
  std::string script(find_program);
  script += how == RemoteEnd::watched ? run_watched : run_on_terminal;
  script += tell_status;
  std::vector<std::string> words = {host.root, host.command};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return remote_script(script, words);
}

}  // namespace llorch
