// Strong ids: a JobId cannot be passed where a WorkerId is meant. Threads: plain values.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>

namespace llorch {

template <class Tag>
struct StringId {
  std::string value;
  auto operator<=>(const StringId&) const = default;
};

using JobId = StringId<struct JobTag>;        // 1..256 bytes
using WorkerId = StringId<struct WorkerTag>;  // [A-Za-z0-9_-]{1,256}
using ModelId = StringId<struct ModelTag>;    // a catalog id or a file's stem

// A worker's seat for one sequence: 0 <= value < slots_total.
struct SlotId {
  std::int32_t value = -1;
  auto operator<=>(const SlotId&) const = default;
};

}  // namespace llorch

template <class Tag>
struct std::hash<llorch::StringId<Tag>> {
  std::size_t operator()(const llorch::StringId<Tag>& id) const noexcept {
    return std::hash<std::string>{}(id.value);
  }
};
