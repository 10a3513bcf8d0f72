// Carries out `llorch pool …`: on this machine by becoming llorch-pool, elsewhere over ssh.
// Threads: one.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/settings.h"
#include "remote/pool_arguments.h"
#include "ssh/ssh_host.h"
#include "sys/process_runner.h"

namespace llorch {

// What the commands need of the outside; tests give their own.
struct PoolDriver {
  Settings settings;
  ProcessRunner& processes;
  std::filesystem::path program_folder;  // llorch-pool of this machine lies there, or in the PATH
  std::function<std::unique_ptr<SshHost>(PoolHost)> connect;
  // Becomes another program; comes back only with an error.
  std::function<Error(const std::vector<std::string>& argv)> become;
  // The same machine name as the shell's `uname -sm` prints.
  std::string system;
};
// Of this process. Errors: those of load_settings().
Result<PoolDriver> make_pool_driver(ProcessRunner& processes);

// llorch-pool of this machine: beside this program, else by the PATH.
std::string local_pool(const PoolDriver& driver);

// Each gives the exit code, everything else printed. Errors are for report().
Result<int> run_pool_command(const PoolDriver& driver, PoolCommand command);
Result<int> run_install(const PoolDriver& driver, const InstallCommand& command);
Result<int> run_copy(const PoolDriver& driver, const CopyCommand& command);

}  // namespace llorch
