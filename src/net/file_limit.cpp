#include "net/file_limit.h"

#include <algorithm>
#include <climits>
#include <cstdint>
#include <sys/resource.h>

#include "base/limits.h"

namespace llorch::net {

std::size_t raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  rlimit raised{limit.rlim_max, limit.rlim_max};
#ifdef __APPLE__
  raised.rlim_cur = std::min<rlim_t>(limit.rlim_max, OPEN_MAX);  // the kernel refuses any more
#endif
  if (raised.rlim_cur > limit.rlim_cur && ::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  return static_cast<std::size_t>(std::min<rlim_t>(limit.rlim_cur, SIZE_MAX));
}

std::size_t connections_within(std::size_t files) {
  // A limit too low even for what is reserved: half of it, and the accept loop pauses when it must.
  const std::size_t reserved = std::min(limits::files_reserved, files / 2);
  return std::clamp<std::size_t>(files - reserved, 1, limits::connections_max);
}

}  // namespace llorch::net
