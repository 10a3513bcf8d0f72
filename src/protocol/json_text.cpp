#include "protocol/json_text.h"

#include <array>
#include <charconv>
#include <cmath>

#include "protocol/utf8.h"

namespace llorch {
namespace {

constexpr std::string_view hex_digits = "0123456789abcdef";

// Whether a byte goes into a JSON string as it is. Bytes of 0x80 and above need a closer look.
constexpr auto plain = [] {
  std::array<bool, 256> table{};
  for (std::size_t c = 0x20; c < 0x80; ++c) table[c] = c != '"' && c != '\\' && c != 0x7F;
  return table;
}();

void append_escape(std::string& out, unsigned char c) {
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      break;
  }
  out += "\\u00";
  out += hex_digits[c >> 4];
  out += hex_digits[c & 15];
}

// Appends what a byte of 0x80 or above begins; returns how many bytes that took.
std::size_t append_wide(std::string& out, std::string_view text) {
  const std::size_t bytes = utf8_character_bytes(text);
  const std::string_view character = text.substr(0, bytes);
  if (character == "\xE2\x80\xA8" || character == "\xE2\x80\xA9") {
    out += character == "\xE2\x80\xA8" ? "\\u2028" : "\\u2029";
    return bytes;
  }
  if (bytes == 0) {
    out += "\xEF\xBF\xBD";
    return 1;
  }
  out += character;
  return bytes;
}

template <class Number>
void append_chars(std::string& out, Number value) {
  std::array<char, 32> buffer;  // the longest double is 24 characters
  const auto [end, status] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  if (status == std::errc{}) out.append(buffer.data(), end);
}

}  // namespace

void append_json_escaped(std::string& out, std::string_view text) {
  std::size_t start = 0;  // of a run that needs no change
  for (std::size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (plain[c]) {
      ++i;
      continue;
    }
    out.append(text, start, i - start);
    if (c < 0x80) {
      append_escape(out, c);
      ++i;
    } else {
      i += append_wide(out, text.substr(i));
    }
    start = i;
  }
  out.append(text, start);
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  append_json_escaped(out, text);
  out += '"';
}

void append_json_int(std::string& out, std::int64_t value) {
  append_chars(out, value);
}
void append_json_uint(std::string& out, std::uint64_t value) {
  append_chars(out, value);
}

void append_json_number(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  append_chars(out, value);
}

void append_json_float(std::string& out, float value) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  append_chars(out, value);
}

void append_json_bool(std::string& out, bool value) {
  out += value ? "true" : "false";
}

std::string& JsonObjectWriter::key(std::string_view name) {
  if (!first_) out_ += ',';
  first_ = false;
  append_json_string(out_, name);
  out_ += ':';
  return out_;
}

JsonObjectWriter& JsonObjectWriter::string(std::string_view name, std::string_view value) {
  append_json_string(key(name), value);
  return *this;
}
JsonObjectWriter& JsonObjectWriter::integer(std::string_view name, std::int64_t value) {
  append_json_int(key(name), value);
  return *this;
}
JsonObjectWriter& JsonObjectWriter::unsigned_integer(std::string_view name, std::uint64_t value) {
  append_json_uint(key(name), value);
  return *this;
}
JsonObjectWriter& JsonObjectWriter::number(std::string_view name, double value) {
  append_json_number(key(name), value);
  return *this;
}
JsonObjectWriter& JsonObjectWriter::boolean(std::string_view name, bool value) {
  append_json_bool(key(name), value);
  return *this;
}
JsonObjectWriter& JsonObjectWriter::raw(std::string_view name, std::string_view json) {
  key(name) += json;
  return *this;
}

}  // namespace llorch
