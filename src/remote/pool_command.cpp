#include "remote/pool_command.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <sys/utsname.h>
#include <unistd.h>
#include <utility>

#include "console/json_output.h"
#include "console/report.h"
#include "pool/root.h"
#include "sys/file_system.h"
#include "sys/host.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

Result<std::unique_ptr<SshHost>> connect(const PoolDriver& driver, const std::string& name) {
  auto host = find_pool_host(driver.settings, name);
  if (!host) return fail(host.error());
  return driver.connect(std::move(*host));
}

Result<std::string> list_backends(const PoolDriver& driver, SshHost* host) {
  const std::vector<std::string> words = {"backends", "list", "--json"};
  if (host != nullptr) {
    const auto listed = host->run(words, {});
    if (!listed) return fail(listed.error());
    return listed->out;
  }
  RunRequest request{.argv = {local_pool(driver)}, .limit_ms = limits::ssh_answer_ms};
  request.argv.insert(request.argv.end(), words.begin(), words.end());
  const auto listed = driver.processes.run(request);
  if (!listed) return fail(listed.error());
  return listed->out;
}

Result<void> name_backend(const PoolDriver& driver, PoolCommand& command, SshHost* host) {
  if (command.backend_missing_at == 0) return {};
  const auto listed = list_backends(driver, host);
  if (!listed) return fail(listed.error());
  const std::string where = command.host.empty() ? "this machine" : "host " + command.host;
  const auto backend = choose_gpu_backend(*listed, command.gpu, where);
  if (!backend) return fail(backend.error());
  command.words.insert(
      command.words.begin() + static_cast<std::ptrdiff_t>(command.backend_missing_at), *backend);
  return {};
}

Result<int> run_here(const PoolDriver& driver, PoolCommand command) {
  if (const auto named = name_backend(driver, command, nullptr); !named) return fail(named.error());
  std::vector<std::string> argv = {local_pool(driver)};
  argv.insert(argv.end(), command.words.begin(), command.words.end());
  auto error = driver.become(argv);
  if (error.code == Code::not_found) error.next = "install llorch-pool beside llorch";
  return fail(error);
}

// llorch-pool's own help of `worker spawn` calls the address to listen on --host.
void explain_spawn_flags(const std::vector<std::string>& words) {
  const bool spawns = words.size() > 2 && words[0] == "worker" && words[1] == "spawn";
  if (!spawns || std::ranges::none_of(words, [](const std::string& word) {
        return word == "--help" || word == "-h";
      })) {
    return;
  }
  print_text(
      "In `llorch pool`, --host H is the machine, and --listen A the address to listen on there,\n"
      "which is --host below. --gpu N without a backend means the GPU backend of that "
      "machine.\n\n");
}

Error become_program(const std::vector<std::string>& argv) {
  std::vector<char*> words;
  for (const auto& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  std::signal(SIGPIPE, SIG_DFL);  // an ignored one would be inherited
  ::execvp(words.front(), words.data());
  return {.code = errno == ENOENT ? Code::not_found : Code::forbidden,
          .message = argv.front() + ": " + std::strerror(errno)};
}

std::string system_name() {
  struct utsname facts{};
  if (::uname(&facts) != 0) return {};
  return std::string(facts.sysname) + " " + facts.machine;
}

}  // namespace

std::string local_pool(const PoolDriver& driver) {
  const auto beside = driver.program_folder / "llorch-pool";
  return ::access(beside.c_str(), X_OK) == 0 ? beside.string() : "llorch-pool";
}

Result<PoolDriver> make_pool_driver(ProcessRunner& processes) {
  const auto files = make_file_system();
  auto settings = load_settings(default_settings_sources(find_root(*files).path));
  if (!settings) return fail(settings.error());
  return PoolDriver{.settings = std::move(*settings),
                    .processes = processes,
                    .program_folder = program_folder(),
                    .connect =
                        [&processes](PoolHost host) {
                          return make_ssh_host(std::move(host), ssh_surroundings(processes));
                        },
                    .become = become_program,
                    .system = system_name()};
}

Result<int> run_pool_command(const PoolDriver& driver, PoolCommand command) {
  explain_spawn_flags(command.words);
  if (command.host.empty()) return run_here(driver, std::move(command));
  const auto host = connect(driver, command.host);
  if (!host) return fail(host.error());
  if (const auto named = name_backend(driver, command, host->get()); !named) {
    return fail(named.error());
  }
  const auto status = (*host)->run_attached(command.words);
  if (status && *status == exit_ok && command.spawns_for_itself) {
    print_next("only programs on " + command.host +
               " reach it there; for others spawn it with --listen A --advertise NAME");
  }
  return status;
}

}  // namespace llorch
