#include "protocol/utf8.h"

#include <algorithm>
#include <cstdint>

namespace llorch {
namespace {

unsigned char byte_at(std::string_view text, std::size_t i) {
  return static_cast<unsigned char>(text[i]);
}

// What a first byte asks for. bytes 0: it begins nothing. The second byte's range is narrower
// after some first bytes; later ones are always 0x80..0xBF.
struct Lead {
  std::size_t bytes = 0;
  unsigned char second_min = 0x80;
  unsigned char second_max = 0xBF;
};

Lead lead_of(unsigned char first) {
  if (first < 0x80) return {.bytes = 1};
  if (first < 0xC2) return {};
  if (first < 0xE0) return {.bytes = 2};
  if (first == 0xE0) return {.bytes = 3, .second_min = 0xA0};
  if (first == 0xED) return {.bytes = 3, .second_max = 0x9F};
  if (first < 0xF0) return {.bytes = 3};
  if (first == 0xF0) return {.bytes = 4, .second_min = 0x90};
  if (first < 0xF4) return {.bytes = 4};
  if (first == 0xF4) return {.bytes = 4, .second_max = 0x8F};
  return {};
}

struct Scan {
  std::size_t wanted = 0;  // bytes of the whole character; 0: nothing begins here
  std::size_t valid = 0;   // how many of them are there and right
};

Scan scan(std::string_view text) {
  if (text.empty()) return {};
  const Lead lead = lead_of(byte_at(text, 0));
  if (lead.bytes == 0) return {};
  const std::size_t end = std::min(lead.bytes, text.size());
  std::size_t valid = 1;
  for (; valid < end; ++valid) {
    const unsigned char next = byte_at(text, valid);
    const bool second = valid == 1;
    if (next < (second ? lead.second_min : 0x80) || next > (second ? lead.second_max : 0xBF)) break;
  }
  return {.wanted = lead.bytes, .valid = valid};
}

}  // namespace

std::size_t utf8_character_bytes(std::string_view text) {
  const Scan found = scan(text);
  return found.wanted == found.valid ? found.wanted : 0;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t bytes = utf8_character_bytes(text);
    if (bytes == 0) return false;
    text.remove_prefix(bytes);
  }
  return true;
}

std::size_t utf8_incomplete_tail(std::string_view text) {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, text.size()); ++back) {
    const std::string_view tail = text.substr(text.size() - back);
    const Scan found = scan(tail);
    if (found.wanted == 0) continue;  // a later byte of a character, or nothing
    return found.wanted > back && found.valid == back ? back : 0;
  }
  return 0;
}

std::string_view utf8_beginning(std::string_view text, std::size_t bytes_max) {
  const std::string_view cut = text.substr(0, bytes_max);
  return cut.substr(0, cut.size() - utf8_incomplete_tail(cut));
}

std::string utf8_replaced(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Scan found = scan(text);
    if (found.wanted != 0 && found.wanted == found.valid) {
      out += text.substr(0, found.wanted);
      text.remove_prefix(found.wanted);
      continue;
    }
    out += "\xEF\xBF\xBD";
    text.remove_prefix(std::max<std::size_t>(found.valid, 1));
  }
  return out;
}

std::size_t utf8_length(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace llorch
