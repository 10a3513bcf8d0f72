// Whole numbers as bytes, the lowest first. Pure.
#pragma once

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>

namespace llorch {

template <std::unsigned_integral Whole>
void append_little_endian(std::string& out, Whole value) {
  for (std::size_t byte = 0; byte < sizeof(Whole); ++byte) {
    out.push_back(static_cast<char>(value >> (8 * byte) & 0xff));
  }
}

// Shape: at least sizeof(Whole) bytes from `at`.
template <std::unsigned_integral Whole>
Whole read_little_endian(std::string_view bytes, std::size_t at) {
  Whole value = 0;
  for (std::size_t byte = sizeof(Whole); byte-- > 0;) {
    value = static_cast<Whole>(value << 8) | static_cast<unsigned char>(bytes[at + byte]);
  }
  return value;
}

}  // namespace llorch
