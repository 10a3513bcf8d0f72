#include "base/random.h"

#include <cassert>
#include <random>
#include <string_view>

namespace llorch {
namespace {

std::string random_from(std::string_view alphabet, int length) {
  assert(length >= 1 && length <= 64);
  std::random_device source;
  std::uniform_int_distribution<std::size_t> pick(0, alphabet.size() - 1);
  std::string text;
  for (int i = 0; i < length; ++i) text += alphabet[pick(source)];
  return text;
}

}  // namespace

std::uint64_t random_u64() {
  std::random_device source;
  return (std::uint64_t{source()} << 32) | source();
}

std::string random_hex(int digits) {
  return random_from("0123456789abcdef", digits);
}

std::string random_word(int length) {
  return random_from("abcdefghijklmnopqrstuvwxyz0123456789", length);
}

std::string random_uuid() {
  auto text = random_hex(32);
  text[12] = '4';
  text[16] = "89ab"[static_cast<std::size_t>(text[16]) % 4];
  for (const auto at : {20, 16, 12, 8}) text.insert(static_cast<std::size_t>(at), "-");
  return text;
}

}  // namespace llorch
