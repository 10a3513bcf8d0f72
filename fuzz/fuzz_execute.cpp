// A body of /execute is refused with its violations, or means the same after a round trip.
#include "base/limits.h"
#include "fuzz.h"
#include "protocol/execute_request.h"
#include "protocol/prefix_hash.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace llorch;
  const auto got = decode_execute(fuzz::text_of(bytes, size));
  if (!got) {
    fuzz::require(got.error().code == Code::invalid_request);
    fuzz::require(!got.error().violations.empty());
    fuzz::require(got.error().violations.size() <= limits::violations_max);
    return 0;
  }
  if (got->relay) return 0;
  const std::string once = encode_execute(got->job);
  const auto again = decode_execute(once);
  fuzz::require(again.has_value());
  fuzz::require(encode_execute(again->job) == once);
  fuzz::require(prefix_chain("", "m", got->job.prompt) == prefix_chain("", "m", again->job.prompt));
  return 0;
}
