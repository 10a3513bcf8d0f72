// Unpredictable ids from the operating system's random source. Threads: any.
#pragma once

#include <cstdint>
#include <string>

namespace llorch {

std::uint64_t random_u64();
// `digits` lower-case hexadecimal digits, 1..64.
std::string random_hex(int digits);
// `length` of [a-z0-9], 1..64: the tail of a worker id.
std::string random_word(int length);
// RFC 4122 version 4.
std::string random_uuid();

}  // namespace llorch
