// CRC-32C (Castagnoli), as iSCSI and ext4 use it. Pure. Source: RFC 3720, B.4.
#pragma once

#include <cstdint>
#include <string_view>

namespace llorch {

// Goes on from `before`: crc32c(b, crc32c(a)) is that of a and b together.
std::uint32_t crc32c(std::string_view bytes, std::uint32_t before = 0);

}  // namespace llorch
