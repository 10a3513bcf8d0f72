#include "base/random.h"

#include <array>
#include <cassert>
#include <chrono>
#include <fmt/format.h>
#include <random>
#include <string_view>
#ifdef __APPLE__
#include <sys/random.h>
#else
#include <unistd.h>
#endif

namespace llorch {
namespace {

// The system's random bytes, fetched many at a time: an id takes 32 of them, and a call of the
// system or an instruction of the processor for each costs more than the rest of a short request.
class RandomBytes {
 public:
  std::uint8_t next() {
    if (used_ == bytes_.size()) fetch();
    return bytes_[used_++];
  }

 private:
  void fetch() {
    used_ = 0;
    if (::getentropy(bytes_.data(), bytes_.size()) == 0) return;
    std::random_device source;  // throws where there is no randomness at all
    for (auto& byte : bytes_) byte = static_cast<std::uint8_t>(source());
  }

  std::array<std::uint8_t, 256> bytes_{};  // as much as getentropy() gives
  std::size_t used_ = bytes_.size();
};

std::uint8_t random_byte() {
  static thread_local RandomBytes bytes;
  return bytes.next();
}

std::string random_from(std::string_view alphabet, int length) {
  assert(length >= 1 && length <= 64);
  const std::size_t even =
      256 - 256 % alphabet.size();  // above it some letters would come more often
  std::string text;
  while (text.size() < static_cast<std::size_t>(length)) {
    const std::size_t byte = random_byte();
    if (byte < even) text += alphabet[byte % alphabet.size()];
  }
  return text;
}

std::string as_uuid(std::string hex, char version) {
  hex[12] = version;
  hex[16] = "89ab"[static_cast<std::size_t>(hex[16]) % 4];
  for (const auto at : {20, 16, 12, 8}) hex.insert(static_cast<std::size_t>(at), "-");
  return hex;
}

}  // namespace

std::uint64_t random_u64() {
  std::uint64_t number = 0;
  for (int i = 0; i < 8; ++i) number = number << 8 | random_byte();
  return number;
}

std::string random_hex(int digits) {
  return random_from("0123456789abcdef", digits);
}

std::string random_word(int length) {
  return random_from("abcdefghijklmnopqrstuvwxyz0123456789", length);
}

std::string random_uuid() {
  return as_uuid(random_hex(32), '4');
}

std::string time_ordered_hex(WallTime at) {
  const auto ms = static_cast<std::uint64_t>(unix_ms(at));
  return fmt::format("{:012x}", ms & 0xffff'ffff'ffff) + random_hex(20);
}

std::string time_ordered_uuid(WallTime at) {
  return as_uuid(time_ordered_hex(at), '7');
}

}  // namespace llorch
