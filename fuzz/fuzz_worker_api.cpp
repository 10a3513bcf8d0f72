// What a worker sends, or who asks for a key, is refused or means the same after a round trip.
#include "fuzz.h"
#include "protocol/key_request.h"
#include "protocol/worker_api.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace llorch;
  const auto body = fuzz::text_of(bytes, size);
  if (const auto got = decode_registration(body)) {
    fuzz::require(decode_registration(encode(*got)) == *got);
  }
  if (const auto got = decode_heartbeat(body)) {
    fuzz::require(decode_heartbeat(encode(*got)) == *got);
  }
  if (const auto got = decode_cancel(body)) {
    fuzz::require(decode_cancel(encode_cancel(*got)) == *got);
  }
  if (const auto got = decode_key_request(body)) {
    fuzz::require(decode_key_request(encode(*got)) == *got);
  }
  if (const auto got = decode_health(body)) {
    const std::string once = encode(*got);
    const auto again = decode_health(once);
    fuzz::require(again.has_value() && encode(*again) == once);
  }
  fuzz::tried(decode_readiness(body));
  fuzz::tried(decode_heartbeat_resync(body));
  (void)prefix_hash_from_hex(body);
  return 0;
}
