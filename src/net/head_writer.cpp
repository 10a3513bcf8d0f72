#include "net/head_writer.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <iterator>

namespace llorch::net {

bool writable(const Headers& headers) {
  return std::ranges::all_of(headers, [](const Headers::Field& field) {
    return is_header_name(field.name) && is_header_value(field.value);
  });
}

void append_field(std::string& head, std::string_view name, std::string_view value) {
  head.append(name).append(": ").append(value).append("\r\n");
}

void append_fields(std::string& head, const Headers& headers) {
  constexpr std::size_t punctuation = 4;   // of a field
  constexpr std::size_t usual_more = 128;  // what follows: framing, whether it stays open
  head.reserve(head.size() + headers.bytes() + headers.size() * punctuation + usual_more);
  for (const auto& [name, value] : headers) append_field(head, name, value);
}

void append_status_line(std::string& head, unsigned status) {
  fmt::format_to(std::back_inserter(head), "HTTP/1.1 {} {}\r\n", status, reason_phrase(status));
}

std::string http_date(std::chrono::sys_seconds time) {
  using namespace std::chrono;
  constexpr std::array day_names{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr std::array month_names{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto day = floor<days>(time);
  const year_month_day date{day};
  const hh_mm_ss clock{time - day};
  return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
                     day_names[weekday{day}.c_encoding()], static_cast<unsigned>(date.day()),
                     month_names[static_cast<unsigned>(date.month()) - 1],
                     static_cast<int>(date.year()), clock.hours().count(), clock.minutes().count(),
                     clock.seconds().count());
}

}  // namespace llorch::net
