// A stream gives the same events however it is cut, and never more than its bound.
#include "fuzz.h"
#include "protocol/job_stream.h"
#include "protocol/sse.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace llorch;
  constexpr std::size_t event_bytes_max = 512;
  const auto input = fuzz::text_of(bytes, size);
  SseParser whole(event_bytes_max);
  SseParser cut(event_bytes_max);
  std::vector<SseEvent> at_once;
  std::vector<SseEvent> by_byte;
  bool cut_ok = true;
  const bool whole_ok = whole.feed(input, at_once).has_value();
  for (const char& c : input) cut_ok = cut_ok && cut.feed({&c, 1}, by_byte).has_value();
  fuzz::require(whole_ok == cut_ok && at_once == by_byte);
  for (const auto& event : at_once) {
    fuzz::require(event.data.size() <= event_bytes_max);
    fuzz::tried(decode_job_event(event));
    fuzz::tried(parse_stream_position(event.id));
  }
  return 0;
}
