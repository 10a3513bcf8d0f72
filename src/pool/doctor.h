// What could keep this host from serving, each with its fix. Threads: one.
#pragma once

#include <string>
#include <vector>

#include "pool/context.h"

namespace llorch {

struct Finding {
  enum class State { ok, warn, fail };
  std::string check;  // "disk"
  State state = State::ok;
  std::string detail;
  std::string fix;  // empty when ok
};

std::vector<Finding> examine(const PoolContext& context);

}  // namespace llorch
