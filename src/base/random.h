// Unpredictable ids from the operating system's random source. Threads: any.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"

namespace llorch {

std::uint64_t random_u64();
// `digits` lower-case hexadecimal digits, 1..64.
std::string random_hex(int digits);
// `length` of [a-z0-9], 1..64: the tail of a worker id.
std::string random_word(int length);
// Version 4. Source: RFC 9562.
std::string random_uuid();
// Version 7, and as many digits alone: those of one time are neighbours in an index.
std::string time_ordered_uuid(WallTime at);
std::string time_ordered_hex(WallTime at);  // 32 digits

}  // namespace llorch
