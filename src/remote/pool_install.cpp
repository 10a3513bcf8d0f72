// llorch pool install|upgrade: this machine's programs into ~/.local/bin of another one.
#include <array>
#include <fmt/format.h>
#include <system_error>

#include "base/version.h"
#include "console/json_output.h"
#include "console/progress.h"
#include "remote/pool_command.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

// The last one is what `llorch pool` calls: it changes when the others are in place.
constexpr std::array programs = {"llorch", "llorch-candled", "llorch-pool"};

// "Linux x86_64", then "llorch-pool 0.1.0" where there is one.
constexpr std::string_view look = R"(uname -sm; p=$HOME/.local/bin/llorch-pool; )"
                                  R"([ -x "$p" ] && "$p" --version; exit 0)";
// Under another name until all of it is there and runs; prints how many bytes came.
constexpr std::string_view take = R"(umask 022; d=$HOME/.local/bin; mkdir -p "$d" && )"
                                  R"(cat >"$d/.$1.new" && chmod 755 "$d/.$1.new" && )"
                                  R"(wc -c <"$d/.$1.new")";
// Loads the libraries of each and asks the worker for its devices.
constexpr std::string_view try_out = R"(d=$HOME/.local/bin; "$d/.llorch.new" --version && )"
                                     R"("$d/.llorch-pool.new" --version && )"
                                     R"("$d/.llorch-candled.new" --list-backends --json)";
constexpr std::string_view put_in_place = R"(d=$HOME/.local/bin; for p in "$@"; do )"
                                          R"(mv -f "$d/.$p.new" "$d/$p" || exit 1; done)";
constexpr std::string_view clear_away =
    R"(for p in "$@"; do rm -f "$HOME/.local/bin/.$p.new"; done)";

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const auto end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    text = end == text.npos ? std::string_view{} : text.substr(end + 1);
  }
  return lines;
}

class Installation {
 public:
  Installation(const PoolDriver& driver, const InstallCommand& command, SshHost& host)
      : driver_(driver), command_(command), host_(host) {}

  Result<int> run() {
    const auto there = look_there();
    if (!there) return fail(there.error());
    const std::string ours = "llorch-pool " + std::string(version());
    if (*there == ours && !command_.upgrade) {
      print_text(fmt::format("{}: {} is there\n", command_.host, ours));
      return exit_ok;
    }
    if (!there->empty() && *there != ours && !command_.upgrade) {
      return fail(Code::conflict,
                  fmt::format("host {}: {} is there, this is {}", command_.host, *there, version()),
                  "llorch pool upgrade --host " + command_.host);
    }
    const auto done = replace();
    if (!done) {
      (void)host_.run_script(clear_away, names(), {}, {});
      return fail(done.error());
    }
    print_text(fmt::format("{}: {} in ~/.local/bin\n", command_.host, ours));
    return exit_ok;
  }

 private:
  static std::vector<std::string> names() { return {programs.begin(), programs.end()}; }

  std::unexpected<Error> failed(const std::string& what, const RemoteOutcome& outcome,
                                const std::string& next) const {
    const auto lines = lines_of(outcome.err);
    const std::string why =
        lines.empty() ? fmt::format("status {}", outcome.exit_status) : lines.back();
    return fail(Code::internal, fmt::format("host {}: {}: {}", command_.host, what, why), next);
  }

  // The version line there; empty: none. Refuses a machine of another kind.
  Result<std::string> look_there() {
    const auto outcome = host_.run_script(look, {}, {}, {});
    if (!outcome) return fail(outcome.error());
    const auto lines = lines_of(outcome->out);
    if (lines.empty()) return failed("has no POSIX shell", *outcome, "log in by hand and look");
    if (lines[0] != driver_.system) {
      return fail(Code::conflict,
                  fmt::format("host {}: is {}, these programs are for {}", command_.host, lines[0],
                              driver_.system),
                  "build llorch there, and set 'command' of its [pools.NAME] in llorch.toml");
    }
    return lines.size() > 1 ? lines[1] : std::string{};
  }

  Result<void> replace() {
    for (const char* const name : programs) {
      if (const auto sent = send(name); !sent) return sent;
    }
    const auto tried = host_.run_script(try_out, {}, {}, {});
    if (!tried) return fail(tried.error());
    if (tried->exit_status != 0) {
      return failed("the programs do not run there", *tried,
                    "install the libraries they miss, or build llorch there");
    }
    const auto moved = host_.run_script(put_in_place, names(), {}, {});
    if (!moved) return fail(moved.error());
    if (moved->exit_status == 0) return {};
    return failed("the programs cannot be replaced", *moved, "look at ~/.local/bin there");
  }

  Result<void> send(const std::string& name) {
    const fs::path file = driver_.program_folder / name;
    std::error_code error;
    const auto bytes = fs::file_size(file, error);
    if (error) {
      return fail(Code::not_found, file.string() + ": is not there to be sent",
                  "build all programs: make build");
    }
    write_to_stderr()(fmt::format("sending {}, {}\n", name, human_bytes(bytes)));
    const std::vector<std::string> arguments = {name};
    const auto sent = host_.run_script(take, arguments, file, {.limit_ms = limits::ssh_install_ms});
    if (!sent) return fail(sent.error());
    const auto lines = lines_of(sent->out);
    const bool whole = sent->exit_status == 0 && !lines.empty() &&
                       lines[0].find(std::to_string(bytes)) != std::string::npos;
    if (whole) return {};
    return failed("did not take " + name, *sent, "check room and rights of ~/.local/bin there");
  }

  const PoolDriver& driver_;
  const InstallCommand& command_;
  SshHost& host_;
};

}  // namespace

Result<int> run_install(const PoolDriver& driver, const InstallCommand& command) {
  auto target = find_pool_host(driver.settings, command.host);
  if (!target) return fail(target.error());
  const auto host = driver.connect(std::move(*target));
  return Installation(driver, command, *host).run();
}

}  // namespace llorch
