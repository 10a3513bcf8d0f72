// The checkable tokens of the fake engine: a pure function of prompt and index. Threads: any.
#pragma once

#include <cstdint>
#include <string_view>

#include "protocol/job.h"

namespace llorch {

inline constexpr std::string_view fake_alphabet = "abcdefghijklmnopqrstuvwxyz      ";

inline std::uint64_t mix(std::uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

inline std::uint64_t hash_bytes(std::string_view text) {  // FNV-1a
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

inline Token token_of(std::uint64_t prompt_hash, std::int64_t index) {
  return fake_alphabet[mix(prompt_hash + static_cast<std::uint64_t>(index)) % fake_alphabet.size()];
}

}  // namespace llorch
