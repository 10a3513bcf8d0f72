// Events of /execute: any data of any type decodes or is refused. First byte: the type.
#include <array>

#include "fuzz.h"
#include "protocol/job_stream.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace llorch;
  constexpr std::array types = {"started", "token", "metrics", "end", "error", "queued", "other"};
  if (size == 0) return 0;
  const auto text = fuzz::text_of(bytes + 1, size - 1);
  const auto got = decode_job_event(
      {.type = types[bytes[0] % types.size()], .data = std::string(text), .id = {}});
  fuzz::tried(got);
  if (got) {
    const JobStreamEvent event = got->value_or(QueuedEvent{});
    if (const auto* const token = std::get_if<TokenEvent>(&event)) {
      fuzz::require(token->i >= 0 && token->id >= 0);
    }
  }
  if (const auto position = parse_stream_position(text)) fuzz::require(position->seq >= 0);
  return 0;
}
