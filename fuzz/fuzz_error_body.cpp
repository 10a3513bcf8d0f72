// Any reply of any status becomes an Error with a message, which our own encoder keeps.
#include "fuzz.h"
#include "protocol/error_body.h"
#include "protocol/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace llorch;
  const unsigned status = 400 + (size == 0 ? 0 : bytes[0] % 200);
  const auto body = fuzz::text_of(bytes, size);
  (void)decode_error_event(body);
  const auto remote = decode_error(status, body);
  fuzz::require(!remote.error.message.empty() && is_utf8(remote.error.message));
  for (const auto shape : {ErrorShape::ours, ErrorShape::openai}) {
    const auto text = error_body(remote.error, remote.correlation_id, shape);
    const auto again = decode_error(http_status(remote.error.code), text);
    fuzz::require(again.error.code == client_code(remote.error.code));
    fuzz::require(again.error.message == remote.error.message);
    fuzz::require(again.correlation_id == remote.correlation_id);
  }
  return 0;
}
