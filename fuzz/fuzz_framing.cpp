// Heads of requests and replies through the guard, with Beast's parser as an oracle: what the guard
// takes, Beast takes too, and reads the same method, target and fields out of it.
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <cstdint>
#include <iterator>
#include <string_view>

#include "fuzz.h"
#include "net/framing.h"

namespace {

namespace http = boost::beast::http;
using llorch::net::Framing;

using llorch::fuzz::require;

void compare_with_beast(std::string_view head, const llorch::net::RequestHead& ours) {
  // Beast reads Proxy-Connection as if it were Connection, which no standard says.
  if (ours.request.headers.find("Proxy-Connection")) return;
  http::request_parser<http::empty_body> theirs;
  theirs.header_limit(UINT32_MAX);
  theirs.body_limit(boost::none);
  boost::system::error_code error;
  theirs.put(boost::asio::buffer(head), error);
  require(!error || error == http::error::need_more);
  require(theirs.is_header_done());
  require(theirs.get().method_string() == ours.request.method);
  require(theirs.get().target() == ours.request.target);
  require(theirs.chunked() == (ours.framing.body == Framing::Body::chunked));
  require(theirs.content_length().value_or(0) == ours.framing.content_length);
  const auto& fields = theirs.get().base();
  require(static_cast<std::size_t>(std::distance(fields.begin(), fields.end())) ==
          ours.request.headers.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = llorch::fuzz::text_of(data, size);
  llorch::net::HeadScanner whole, sliced;
  const auto end = whole.scan(bytes);
  for (std::size_t upto = 0; upto < size; ++upto) {
    const auto part = sliced.scan(bytes.substr(0, upto));
    if (!part || *part) break;  // the slices decide before the last byte, as the whole does
    if (!end) continue;
    require(!*end || upto < **end);
  }
  if (!end || !*end) return 0;
  const std::string_view head = bytes.substr(0, **end);
  const auto request = llorch::net::parse_request_head(head);
  if (request) compare_with_beast(head, *request);
  const auto response = llorch::net::parse_response_head(head, "GET");
  if (response) require(response->response.status >= 100 && response->response.status < 600);
  return 0;
}
