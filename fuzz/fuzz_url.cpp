// A URL is refused, or means the same when it is put together again.
#include "fuzz.h"
#include "net/client.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace llorch;
  const auto text = fuzz::text_of(bytes, size);
  fuzz::require(net::percent_decoded(text).size() <= text.size());
  const auto url = net::parse_url(text);
  fuzz::tried(url);
  if (!url) return 0;
  fuzz::require(net::is_header_value(net::authority_of(*url)));
  const auto again = net::parse_url(url->scheme + "://" + net::authority_of(*url) + url->target);
  fuzz::require(again.has_value() && *again == *url);
  return 0;
}
