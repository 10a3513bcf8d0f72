#include "remote/run_command.h"

#include "remote/fleet_command.h"
#include "remote/local_command.h"
#include "remote/pool_command.h"
#include "sys/file_system.h"

namespace llorch {

Result<int> run_remote_command(const RemoteCommand& command) {
  if (const auto* host = std::get_if<HostCommand>(&command)) {
    const auto file = user_settings_file();
    if (!file) return fail(file.error());
    return run_host_command(*host, *make_file_system(), *file);
  }
  if (const auto* fleet = std::get_if<FleetCommand>(&command)) return run_fleet_command(*fleet);
  const auto processes = make_process_runner();
  const auto driver = make_pool_driver(*processes);
  if (!driver) return fail(driver.error());
  if (const auto* put = std::get_if<InstallCommand>(&command)) return run_install(*driver, *put);
  if (const auto* copy = std::get_if<CopyCommand>(&command)) return run_copy(*driver, *copy);
  if (const auto* local = std::get_if<LocalCommand>(&command)) {
    return run_local_command(*driver, *local);
  }
  return run_pool_command(*driver, std::get<PoolCommand>(command));
}

}  // namespace llorch
