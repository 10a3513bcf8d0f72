// JSON written by appending to a string: what a frame per token can afford.
// Threads: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace llorch {

// Appends `text` as a JSON string with its quotes. Invalid UTF-8 becomes U+FFFD, so the result is
// always JSON. Source: RFC 8259 §7; U+2028 and U+2029 are escaped too, for JavaScript readers.
void append_json_string(std::string& out, std::string_view text);
// The same without the quotes.
void append_json_escaped(std::string& out, std::string_view text);

void append_json_int(std::string& out, std::int64_t value);
void append_json_uint(std::string& out, std::uint64_t value);
// The shortest text that reads back as the same number; null when it is not finite.
void append_json_number(std::string& out, double value);
void append_json_float(std::string& out, float value);  // with a float's own, fewer digits
void append_json_bool(std::string& out, bool value);

// "[…]": `append` adds each item's JSON to `out`.
template <class Items, class Append>
void append_json_list(std::string& out, const Items& items, Append append) {
  out += '[';
  bool first = true;
  for (const auto& item : items) {
    if (!first) out += ',';
    first = false;
    append(item);
  }
  out += ']';
}

// The members of one object, in the order they are added; end() closes it.
// {"status":"cancelled","job_id":"j1"}
class JsonObjectWriter {
 public:
  explicit JsonObjectWriter(std::string& out) : out_(out) { out_ += '{'; }
  JsonObjectWriter& string(std::string_view name, std::string_view value);
  JsonObjectWriter& integer(std::string_view name, std::int64_t value);
  JsonObjectWriter& unsigned_integer(std::string_view name, std::uint64_t value);
  JsonObjectWriter& number(std::string_view name, double value);
  JsonObjectWriter& boolean(std::string_view name, bool value);
  // `json` is finished JSON, taken as it is.
  JsonObjectWriter& raw(std::string_view name, std::string_view json);
  // Writes the name only; the caller appends the value.
  std::string& key(std::string_view name);
  void end() { out_ += '}'; }

 private:
  std::string& out_;
  bool first_ = true;
};

}  // namespace llorch
