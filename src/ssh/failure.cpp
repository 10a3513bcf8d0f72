#include "ssh/failure.h"

#include <algorithm>
#include <array>
#include <string>

namespace llorch {
namespace {

// First hit counts: a changed key also says "verification failed". HOST in `next` is the target.
struct Meaning {
  std::string_view sign;
  Code code;
  std::string_view why;
  std::string_view next;
};
constexpr std::array meanings = {
    Meaning{"REMOTE HOST IDENTIFICATION HAS CHANGED", Code::forbidden,
            "its key is not the one known here: another machine may answer in its place",
            "if it was set up anew: ssh-keygen -R with the name in ~/.ssh/known_hosts, then once: "
            "ssh HOST"},
    Meaning{"Host key verification failed", Code::forbidden, "its key is not known here",
            "once by hand, and compare the key: ssh HOST"},
    Meaning{"Could not resolve hostname", Code::unreachable, "no such name",
            "check the name, or give it a 'HostName' in ~/.ssh/config"},
    Meaning{"Connection refused", Code::unreachable, "no ssh server listens there",
            "start sshd there, or set its 'Port' in ~/.ssh/config"},
    Meaning{"No route to host", Code::unreachable, "no way leads there", "ping HOST"},
    Meaning{"Network is unreachable", Code::unreachable, "no way leads there", "ping HOST"},
    Meaning{"imed out", Code::timeout, "does not answer", "ssh -v HOST shows how far it comes"},
    Meaning{"not responding", Code::timeout, "stopped answering", "ssh -v HOST"},
    Meaning{"Too many authentication failures", Code::forbidden, "it refused every key",
            "name the right one in ~/.ssh/config: 'IdentityFile …' and 'IdentitiesOnly yes'"},
    Meaning{"Permission denied", Code::forbidden,
            "it refused this user's keys, and no password is asked for here",
            "put a key there: ssh-copy-id HOST; one with a passphrase needs ssh-add"},
    Meaning{"Bad configuration option", Code::invalid_request, "ssh refuses its own configuration",
            "correct ~/.ssh/config; see: ssh -G HOST"},
    Meaning{"Bad owner or permissions", Code::invalid_request, "ssh refuses its own configuration",
            "chmod 600 ~/.ssh/config"},
    Meaning{"hostname contains invalid characters", Code::invalid_request,
            "ssh refuses the name it stands for", "see: ssh -G HOST"},
};

std::string with_host(std::string_view text, const std::string& host) {
  std::string whole(text);
  if (const auto at = whole.find("HOST"); at != whole.npos && !whole.contains("HostName")) {
    whole.replace(at, 4, host);
  }
  return whole;
}

// The last line that says something, for what is in no table.
std::string last_line(std::string_view log) {
  while (!log.empty()) {
    const auto end = log.find_last_not_of("\r\n ");
    if (end == log.npos) return {};
    log = log.substr(0, end + 1);
    const auto begin = log.find_last_of("\r\n");
    const auto line = begin == log.npos ? log : log.substr(begin + 1);
    constexpr std::size_t line_bytes_max = 300;
    if (std::ranges::any_of(line, [](unsigned char c) { return std::isalnum(c) != 0; })) {
      return std::string(line.substr(0, line_bytes_max));
    }
    log = begin == log.npos ? std::string_view{} : log.substr(0, begin);
  }
  return {};
}

}  // namespace

Error explain_ssh_failure(const SshTarget& target, std::string_view log) {
  const std::string host = name_of(target);
  const std::string said = last_line(log);
  const auto found = std::ranges::find_if(
      meanings, [&](const Meaning& meaning) { return log.contains(meaning.sign); });
  if (found != meanings.end()) {
    std::string message = "host " + host + ": " + std::string(found->why);
    if (found->code != Code::forbidden && !said.empty()) message += " (" + said + ")";
    return {.code = found->code, .message = message, .next = with_host(found->next, host)};
  }
  return {.code = Code::unreachable,
          .message = "host " + host + ": " +
                     (said.empty() ? "the connection ended before the command did" : said),
          .next = "ssh " + host};
}

Error explain_no_pool(const PoolHost& host, int status) {
  const std::string name = name_of(host.target);
  const std::string place = host.command.empty() ? "llorch-pool" : host.command;
  if (status == 126) {
    return {.code = Code::forbidden,
            .message = "host " + name + ": " + place + " cannot be run there",
            .next = "chmod +x it there, or set 'command' of its [pools.NAME] in llorch.toml"};
  }
  return {.code = Code::not_found,
          .message = "host " + name + ": " + place + " is not there",
          .next = "llorch pool install --host " + name +
                  ", or set 'command' of its [pools.NAME] in llorch.toml"};
}

}  // namespace llorch
