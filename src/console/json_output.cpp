#include "console/json_output.h"

#include <boost/json.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>

#include "console/report.h"

namespace llorch {
namespace {

namespace json = boost::json;

int write_failure = 0;  // errno of the first write that failed

void append(std::string& out, const json::value& value, std::size_t depth) {
  const auto line = [&](std::size_t level) { out += "\n" + std::string(level * 2, ' '); };
  if (const auto* object = value.if_object(); object != nullptr && !object->empty()) {
    out += '{';
    for (bool first = true; const auto& member : *object) {
      if (!first) out += ',';
      first = false;
      line(depth + 1);
      out += json::serialize(member.key()) + ": ";
      append(out, member.value(), depth + 1);
    }
    line(depth);
    out += '}';
  } else if (const auto* array = value.if_array(); array != nullptr && !array->empty()) {
    out += '[';
    for (bool first = true; const auto& element : *array) {
      if (!first) out += ',';
      first = false;
      line(depth + 1);
      append(out, element, depth + 1);
    }
    line(depth);
    out += ']';
  } else if (value.is_double()) {
    out += fmt::format("{}", value.get_double());  // "0.1", where Boost writes 1E-1
  } else {
    out += json::serialize(value);
  }
}

}  // namespace

std::string pretty_json(const json::value& value) {
  std::string text;
  append(text, value, 0);
  return text;
}

void print_json(const json::value& value) {
  print_text(pretty_json(value) + "\n");
}

bool print_text(std::string_view text) {
  errno = 0;
  const bool taken = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  const bool written = std::fflush(stdout) == 0 && taken;
  if (!written && write_failure == 0) write_failure = errno != 0 ? errno : EIO;
  return written;
}

int exit_with_output(int code) {
  if (write_failure == 0 || write_failure == EPIPE) return code;
  Error error{.code = Code::internal};
  error.message = std::string("stdout: cannot be written: ") + std::strerror(write_failure);
  error.next = "make room where the output goes, and run the same again";
  report(error);
  return code == exit_ok ? exit_failure : code;
}

}  // namespace llorch
