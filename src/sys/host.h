// Facts about this machine: its name, memory, limits and free ports. Threads: any.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/result.h"

namespace llorch {

struct HostFacts {
  std::string name;    // gethostname() as is
  std::string system;  // "Linux" or "Darwin"
  bool mac = false;
  std::uint64_t memory_total_bytes = 0;  // the machine's, or less where a cgroup says so
  std::uint64_t memory_available_bytes = 0;
  std::uint32_t cores = 1;           // that the system schedules on
  std::uint64_t open_files_max = 0;  // soft limit
};
HostFacts read_host_facts();

// Of those, without the ones that share another's; on a Mac the fast ones. Reads a file a core.
std::uint32_t count_physical_cores(std::uint32_t cores);

// Whether `host`:`port` can be bound just now. Errors: conflict (something holds it), forbidden
// (not by this user), invalid_request (`host` is no address of this machine).
Result<void> check_port(const std::string& host, std::uint16_t port);

// The folder of the running program; "." when the system does not say.
std::filesystem::path program_folder();

// A variable of the environment; unset and empty are the same.
std::optional<std::string> environment_value(const char* name);

}  // namespace llorch
