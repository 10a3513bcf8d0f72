// UTF-8 at the edges: what is valid, what is only begun, and what stands in for the rest.
// Source: Unicode 15 table 3-7 (no overlong forms, no surrogates, at most U+10FFFF).
// Threads: any.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace llorch {

bool is_utf8(std::string_view text);

// Bytes of one character at the start of `text`; 0 when it is invalid, cut off or empty.
std::size_t utf8_character_bytes(std::string_view text);

// Bytes at the end that begin a character which later bytes could finish. Shape: 0..3.
std::size_t utf8_incomplete_tail(std::string_view text);

// As many whole characters of valid UTF-8 as fit into `bytes_max`.
std::string_view utf8_beginning(std::string_view text, std::size_t bytes_max);

// `text` with U+FFFD for each maximal invalid part, as browsers decode it.
std::string utf8_replaced(std::string_view text);

// Characters of valid UTF-8.
std::size_t utf8_length(std::string_view text);

}  // namespace llorch
