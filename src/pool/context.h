// Everything outside the process that the pool's commands touch, in one place, so that a test can
// replace any of it. Threads: one. Lifetime: outlives every call that takes it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/settings.h"
#include "console/terminal.h"
#include "pool/http.h"
#include "pool/root.h"
#include "sys/file_system.h"
#include "sys/host.h"
#include "sys/process_runner.h"

namespace llorch {

struct PoolContext {
  FileSystem& files;
  ProcessRunner& processes;
  Http& http;
  const Clock& clock;
  Root root;
  Settings settings;
  HostFacts host;
  std::filesystem::path program_folder;  // llorch-candled lies beside llorch-pool
  std::function<std::optional<std::string>(const char*)> environment;
  std::function<void(std::int64_t ms)> wait;
  std::function<int()> interrupted;              // the signal noted under an InterruptGuard, or 0
  std::function<void(const std::string&)> say;   // a line for people, to stderr
  std::function<void(const std::string&)> draw;  // bytes of a progress bar, to stderr
  Terminal messages;                             // what stderr can show
};

}  // namespace llorch
