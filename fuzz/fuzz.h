// What every fuzz target shares: the input as text, and a check that stays in release builds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace llorch::fuzz {

inline std::string_view text_of(const std::uint8_t* bytes, std::size_t size) {
  return size == 0 ? std::string_view{}
                   : std::string_view{reinterpret_cast<const char*>(bytes), size};
}

inline void require(bool holds) {
  if (!holds) std::abort();
}

// A decoder gave a value, or an error that says something.
template <class Result>
void tried(const Result& result) {
  require(result.has_value() || !result.error().message.empty());
}

}  // namespace llorch::fuzz
