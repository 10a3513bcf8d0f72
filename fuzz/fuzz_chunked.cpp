// Chunked bodies: whatever the slices, the same bytes come out, never more than the limit.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "fuzz.h"
#include "net/framing.h"

namespace {

constexpr std::uint64_t body_bytes_max = 4096;

using llorch::fuzz::require;

// The body, with what is left of `wire` after it; nullopt when it was refused.
struct Decoded {
  std::string body;
  std::string_view rest;
  bool done = false;
  bool operator==(const Decoded&) const = default;
};

std::optional<Decoded> decode(std::string_view wire, std::size_t slice) {
  llorch::net::ChunkedDecoder decoder(body_bytes_max);
  Decoded decoded;
  while (!wire.empty() && !decoder.done()) {
    const auto piece = decoder.next(wire.substr(0, slice));
    if (!piece) return std::nullopt;
    require(piece->consumed > 0 && piece->data.size() <= piece->consumed);
    decoded.body += piece->data;
    wire.remove_prefix(piece->consumed);
  }
  require(decoded.body.size() <= body_bytes_max);
  decoded.rest = wire;
  decoded.done = decoder.done();
  return decoded;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view wire = llorch::fuzz::text_of(data, size);
  const auto whole = decode(wire, wire.size());
  for (const std::size_t slice : {std::size_t{1}, std::size_t{7}}) {
    require(decode(wire, slice) == whole);
  }
  return 0;
}
