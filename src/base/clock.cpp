#include "base/clock.h"

#include <array>

namespace llorch {

namespace {

// Over the zeros of `text` that end before `end`.
void put_digits(std::string& text, std::size_t end, std::int64_t value) {
  for (; value > 0; value /= 10) text[--end] = static_cast<char>('0' + value % 10);
}

}  // namespace

std::string rfc3339(WallTime time) {
  using namespace std::chrono;
  const auto millis = floor<milliseconds>(time);
  const auto day = floor<days>(millis);
  const year_month_day date{day};
  const hh_mm_ss clock{millis - day};
  // By hand: each line of the log and each row has one.
  std::string text = "0000-00-00T00:00:00.000Z";
  put_digits(text, 4, static_cast<int>(date.year()));
  put_digits(text, 7, static_cast<unsigned>(date.month()));
  put_digits(text, 10, static_cast<unsigned>(date.day()));
  put_digits(text, 13, clock.hours().count());
  put_digits(text, 16, clock.minutes().count());
  put_digits(text, 19, clock.seconds().count());
  put_digits(text, 23, clock.subseconds().count());
  return text;
}

std::optional<WallTime> parse_rfc3339(std::string_view text) {
  using namespace std::chrono;
  constexpr std::string_view shape = "dddd-dd-ddTdd:dd:dd";
  if (text.size() <= shape.size() || text.back() != 'Z') return std::nullopt;
  std::array<int, 6> fields{};  // year, month, day, hour, minute, second
  std::size_t field = 0;
  for (std::size_t at = 0; at < shape.size(); ++at) {
    if (shape[at] != 'd') {
      if (text[at] != shape[at]) return std::nullopt;
      ++field;
    } else if (text[at] < '0' || text[at] > '9') {
      return std::nullopt;
    } else {
      fields[field] = fields[field] * 10 + (text[at] - '0');
    }
  }
  int millis = 0;
  const auto fraction = text.substr(shape.size(), text.size() - shape.size() - 1);
  if (!fraction.empty() && (fraction[0] != '.' || fraction.size() == 1)) return std::nullopt;
  for (std::size_t at = 1; at < fraction.size() || at < 4; ++at) {
    const char digit = at < fraction.size() ? fraction[at] : '0';
    if (digit < '0' || digit > '9') return std::nullopt;
    if (at < 4) millis = millis * 10 + (digit - '0');
  }
  const auto& [year_number, month_number, day_number, hour, minute, second] = fields;
  const year_month_day date{year{year_number}, month{static_cast<unsigned>(month_number)},
                            day{static_cast<unsigned>(day_number)}};
  if (!date.ok() || hour > 23 || minute > 59 || second > 60) return std::nullopt;
  return sys_days{date} + hours{hour} + minutes{minute} + seconds{second} + milliseconds{millis};
}

double elapsed_ms(SteadyTime from, SteadyTime to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

}  // namespace llorch
