#include "net/http_types.h"

#include <algorithm>
#include <charconv>

namespace llorch::net {
namespace {

char lower(char letter) {
  return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter | 0x20) : letter;
}

bool is_token_char(char c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
  return c != '\0' && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

}  // namespace

bool same_name(std::string_view left, std::string_view right) {
  return std::ranges::equal(left, right, [](char a, char b) { return lower(a) == lower(b); });
}

Headers::Headers(std::initializer_list<Field> fields) {
  for (const Field& field : fields) add(field.name, field.value);
}

Headers::Field Headers::field(std::size_t index) const {
  const std::size_t begin = index == 0 ? 0 : places_[index - 1].value_end;
  const Place& at = places_[index];
  const std::string_view text = text_;
  return {text.substr(begin, at.name_end - begin),
          text.substr(at.name_end, at.value_end - at.name_end)};
}

std::optional<std::string_view> Headers::find(std::string_view name) const {
  for (const Field& field : *this) {
    if (same_name(field.name, name)) return field.value;
  }
  return std::nullopt;
}

void Headers::add(std::string_view name, std::string_view value) {
  constexpr std::size_t usual_fields = 12;
  constexpr std::size_t usual_bytes = 320;
  if (places_.empty()) {
    places_.reserve(usual_fields);
    text_.reserve(usual_bytes);
  }
  text_ += name;
  const std::size_t name_end = text_.size();
  text_ += value;
  places_.push_back({name_end, text_.size()});
}

void Headers::set(std::string_view name, std::string_view value) {
  Headers kept;
  for (const Field& field : *this) {
    if (!same_name(field.name, name)) kept.add(field.name, field.value);
  }
  kept.add(name, value);
  *this = std::move(kept);
}

std::string percent_decoded(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t at = 0; at < text.size(); ++at) {
    unsigned char byte = 0;
    const char* const digits = text.data() + at + 1;
    const bool two = text[at] == '%' && at + 2 < text.size();
    if (two && std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
      decoded += static_cast<char>(byte);
      at += 2;
    } else {
      decoded += text[at];
    }
  }
  return decoded;
}

std::string_view reason_phrase(unsigned status) {
  struct Row {
    unsigned status;
    std::string_view phrase;
  };
  static constexpr Row rows[] = {
      {100, "Continue"},
      {200, "OK"},
      {201, "Created"},
      {202, "Accepted"},
      {204, "No Content"},
      {301, "Moved Permanently"},
      {302, "Found"},
      {304, "Not Modified"},
      {307, "Temporary Redirect"},
      {308, "Permanent Redirect"},
      {400, "Bad Request"},
      {401, "Unauthorized"},
      {403, "Forbidden"},
      {404, "Not Found"},
      {405, "Method Not Allowed"},
      {408, "Request Timeout"},
      {409, "Conflict"},
      {413, "Content Too Large"},
      {417, "Expectation Failed"},
      {422, "Unprocessable Content"},
      {429, "Too Many Requests"},
      {431, "Request Header Fields Too Large"},
      {499, "Client Closed Request"},
      {500, "Internal Server Error"},
      {501, "Not Implemented"},
      {502, "Bad Gateway"},
      {503, "Service Unavailable"},
      {504, "Gateway Timeout"},
      {505, "HTTP Version Not Supported"},
      {507, "Insufficient Storage"},
  };
  const auto* const row = std::ranges::find(rows, status, &Row::status);
  return row == std::end(rows) ? std::string_view() : row->phrase;
}

bool is_header_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, is_token_char);
}

bool is_header_value(std::string_view value) {
  const auto allowed = [](char c) {
    return c == '\t' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  };
  return std::ranges::all_of(value, allowed);
}

}  // namespace llorch::net
