// Deletes the KV cache files that workers keep on disk. Threads: one.
#pragma once

#include <cstdint>

#include "pool/context.h"

namespace llorch {

struct Purged {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
};
// Everything below `.runtime/kv`; a worker that runs recomputes what it misses.
// Errors: forbidden.
Result<Purged> purge_kv_cache(const PoolContext& context);

}  // namespace llorch
