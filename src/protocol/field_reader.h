// Reads the fields of one JSON object against their ranges and lists every violation, so that a
// client learns all of them at once. A field that is null counts as absent.
// Threads: one owner. Lifetime: the object and the names asked for outlive the reader.
#pragma once

#include <array>
#include <boost/json/array.hpp>
#include <boost/json/monotonic_resource.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "base/result.h"
#include "protocol/json_parse.h"

namespace llorch {

// The violations of one request, at most limits::violations_max of them.
class Violations {
 public:
  void add(std::string field, std::string constraint, std::string message,
           std::optional<std::string> value = std::nullopt);
  bool empty() const { return list_.empty(); }
  // The one error of all of them; its message is the first one's and how many follow.
  Error error() &&;

 private:
  std::vector<Violation> list_;
};

struct NumberRange {
  double min = 0;
  double max = 0;
  bool above_min = false;  // min itself is out of range
};
struct TextRange {
  std::size_t bytes_min = 0;
  std::size_t bytes_max = 0;
  bool control_characters = true;  // whether they are allowed
};

class FieldReader {
 public:
  // `path` names the object in violations: "" or "openai.body.".
  FieldReader(const boost::json::object& object, Violations& violations, std::string path = "");

  // Each: nullopt when absent or in violation.
  std::optional<double> number(std::string_view name, NumberRange range);
  // Also takes 1e2 and 100.0. Shape: min..max.
  std::optional<std::uint64_t> integer(std::string_view name, std::uint64_t min, std::uint64_t max);
  // The whole of uint64; with `negatives` int64 too, as two's complement.
  std::optional<std::uint64_t> seed(std::string_view name, bool negatives);
  std::optional<bool> boolean(std::string_view name);
  std::optional<std::string> text(std::string_view name, TextRange range);
  const boost::json::array* array(std::string_view name, std::size_t items_max);
  const boost::json::object* object(std::string_view name);
  // Any JSON; null counts as absent.
  const boost::json::value* any(std::string_view name);
  bool has(std::string_view name) { return any(name) != nullptr; }

  // Every field not asked for so far is a violation.
  void refuse_others();

  std::string path(std::string_view name) const { return path_ + std::string(name); }
  void add(std::string_view name, std::string constraint, std::string message,
           std::optional<std::string> value = std::nullopt);

 private:
  const boost::json::object& object_;
  Violations& violations_;
  std::string path_;
  std::vector<std::string_view> asked_;
};

// A whole number of `value`, also when written as 1e2; nullopt when it is none that fits.
std::optional<std::uint64_t> whole_number(const boost::json::value& value);
std::optional<std::int32_t> token_id(const boost::json::value& value);
// A number, boolean or null as text, for Violation::value; text and containers are never shown.
std::optional<std::string> shown(const boost::json::value& value);
std::string std_string(const boost::json::string& text);

// Parses a body and lets `read(fields, violations)` make a value of it.
// Errors: invalid_request with every violation, too_large.
template <class Read>
auto decode_object(std::string_view body, Read read)
    -> Result<decltype(read(std::declval<FieldReader&>(), std::declval<Violations&>()))> {
  // What is parsed lives no longer than this call: a usual body takes no memory of its own.
  std::array<unsigned char, 4'096> space;
  boost::json::monotonic_resource memory(space.data(), space.size());
  const auto object = parse_json_object(body, limits::body_bytes_max, &memory);
  if (!object) return fail(object.error());
  Violations violations;
  FieldReader fields(*object, violations);
  auto decoded = read(fields, violations);
  if (!violations.empty()) return fail(std::move(violations).error());
  return decoded;
}

}  // namespace llorch
