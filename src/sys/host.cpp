#include "sys/host.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <netdb.h>
#include <set>
#include <sys/resource.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#ifdef __APPLE__
#include <mach-o/dyld.h>
#include <mach/mach.h>
#include <sys/sysctl.h>
#endif

namespace llorch {
namespace {

#ifdef __APPLE__
void read_memory(HostFacts& facts) {
  std::uint64_t total = 0;
  std::size_t size = sizeof(total);
  if (::sysctlbyname("hw.memsize", &total, &size, nullptr, 0) == 0)
    facts.memory_total_bytes = total;
  vm_statistics64_data_t pages{};
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  auto* const into = reinterpret_cast<host_info64_t>(&pages);
  if (::host_statistics64(::mach_host_self(), HOST_VM_INFO64, into, &count) == KERN_SUCCESS) {
    facts.memory_available_bytes =
        (std::uint64_t{pages.free_count} + pages.inactive_count) * vm_page_size;
  }
}
#else
// The value after `key` in /proc/meminfo, in bytes.
std::uint64_t meminfo_bytes(const std::string& key) {
  std::ifstream file("/proc/meminfo");
  std::string name;
  std::uint64_t kib = 0;
  while (file >> name >> kib) {
    if (name == key) return kib * 1024;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

std::optional<std::uint64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  std::uint64_t number = 0;
  if (file >> number) return number;
  return std::nullopt;  // absent, or the word "max"
}

// Pages of files that the kernel gives back when asked: a model just downloaded is no hindrance.
std::uint64_t reclaimable_bytes(const std::string& stat_path) {
  std::ifstream file(stat_path);
  std::string name;
  std::uint64_t bytes = 0;
  while (file >> name >> bytes) {
    if (name == "inactive_file" || name == "total_inactive_file") return bytes;
  }
  return 0;
}

// A container sees the whole machine in /proc/meminfo but may not use it.
void read_memory(HostFacts& facts) {
  facts.memory_total_bytes = meminfo_bytes("MemTotal:");
  facts.memory_available_bytes = meminfo_bytes("MemAvailable:");
  struct Files {
    const char* limit;
    const char* used;
    const char* stat;
  };
  constexpr std::array versions = {
      Files{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current",
            "/sys/fs/cgroup/memory.stat"},
      Files{"/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes", "/sys/fs/cgroup/memory/memory.stat"}};
  for (const auto& [limit_file, used_file, stat_file] : versions) {
    const auto limit = number_in(limit_file);
    if (!limit || *limit >= facts.memory_total_bytes) continue;
    const std::uint64_t all = std::min(number_in(used_file).value_or(0), *limit);
    const std::uint64_t used = all - std::min(all, reclaimable_bytes(stat_file));
    facts.memory_total_bytes = *limit;
    facts.memory_available_bytes = std::min(facts.memory_available_bytes, *limit - used);
  }
}
#endif

std::unexpected<Error> cannot_bind(const std::string& host, std::uint16_t port, int number,
                                   const std::string& why) {
  const std::string what = "port " + std::to_string(port) + " on " + host + ": " + why;
  switch (number) {
    case EADDRINUSE:
      return fail(Code::conflict, what, "choose another port");
    case EACCES:
    case EPERM:
      return fail(Code::forbidden, what, "choose a port from 1024 up, or another user");
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
      return fail(Code::invalid_request, what,
                  "name an address of this machine: 127.0.0.1, 0.0.0.0");
    default:
      return fail(Code::internal, what);
  }
}

}  // namespace

HostFacts read_host_facts() {
  HostFacts facts;
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) == 0) facts.name = name.data();
#ifdef __APPLE__
  facts.system = "Darwin";
  facts.mac = true;
#else
  facts.system = "Linux";
#endif
  read_memory(facts);
  facts.cores = std::max(1U, std::thread::hardware_concurrency());
  struct rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) facts.open_files_max = files.rlim_cur;
  return facts;
}

#ifdef __APPLE__
std::uint32_t count_physical_cores(std::uint32_t cores) {
  std::uint32_t count = 0;
  for (const char* name : {"hw.perflevel0.physicalcpu", "hw.physicalcpu"}) {
    std::size_t size = sizeof(count);
    if (::sysctlbyname(name, &count, &size, nullptr, 0) == 0 && count > 0) return count;
  }
  return cores;
}
#else
std::uint32_t count_physical_cores(std::uint32_t cores) {
  std::set<std::string> siblings;  // "0,8": one line for both threads of a core
  for (std::uint32_t cpu = 0; cpu < cores; ++cpu) {
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                       "/topology/thread_siblings_list");
    std::string line;
    if (!std::getline(file, line)) return cores;
    siblings.insert(line);
  }
  return std::max(1U, static_cast<std::uint32_t>(siblings.size()));
}
#endif

Result<void> check_port(const std::string& host, std::uint16_t port) {
  struct addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  struct addrinfo* found = nullptr;
  const int unknown = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (unknown != 0) return cannot_bind(host, port, EADDRNOTAVAIL, ::gai_strerror(unknown));
  const int descriptor = ::socket(found->ai_family, SOCK_STREAM, 0);
  const int on = 1;  // as the server does, so that connections in TIME_WAIT do not count
  ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const bool bound = ::bind(descriptor, found->ai_addr, found->ai_addrlen) == 0;
  const bool free = bound && ::listen(descriptor, 1) == 0;
  const int number = free ? 0 : errno;
  if (descriptor >= 0) ::close(descriptor);
  ::freeaddrinfo(found);
  if (free) return {};
  return cannot_bind(host, port, number, std::strerror(number));
}

std::filesystem::path program_folder() {
#ifdef __APPLE__
  std::array<char, 4096> path{};
  std::uint32_t size = path.size();
  if (::_NSGetExecutablePath(path.data(), &size) != 0) return ".";
  std::error_code error;
  const auto whole = std::filesystem::canonical(path.data(), error);
#else
  std::error_code error;
  const auto whole = std::filesystem::read_symlink("/proc/self/exe", error);
#endif
  return error ? std::filesystem::path(".") : whole.parent_path();
}

std::optional<std::string> environment_value(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

}  // namespace llorch
