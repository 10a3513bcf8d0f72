#include "net/framing.h"

#include <gtest/gtest.h>
#include <string>

#include "base/limits.h"
#include "net/head_writer.h"

namespace llorch::net {
namespace {

using Body = Framing::Body;

// 200 for a head that is taken, else the status of its refusal, as a server would see it.
unsigned verdict(const std::string& head) {
  HeadScanner scanner;
  const auto size = scanner.scan(head);
  if (!size) return size.error().status;
  if (!*size) return 0;  // not complete
  const auto parsed = parse_request_head(std::string_view(head).substr(0, **size));
  return parsed ? 200 : parsed.error().status;
}

std::string post(const std::string& fields) {
  return "POST /x HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n";
}

TEST(RequestLine, TakesOnlyMethodPathAndVersion) {
  struct Case {
    const char* name;
    std::string line;
    unsigned want;
  };
  const Case cases[] = {
      {"typical", "GET / HTTP/1.1", 200},
      {"query", "GET /a/b?c=d%20e HTTP/1.1", 200},
      {"http 1.0", "GET / HTTP/1.0", 200},
      {"own method", "PURGE / HTTP/1.1", 200},
      {"whole server", "OPTIONS * HTTP/1.1", 200},
      {"whole server by GET", "GET * HTTP/1.1", 400},
      {"absolute target", "GET http://h/ HTTP/1.1", 400},
      {"authority target", "CONNECT h:443 HTTP/1.1", 400},
      {"no target", "GET HTTP/1.1", 400},
      {"empty target", "GET  HTTP/1.1", 400},
      {"two blanks", "GET  / HTTP/1.1", 400},
      {"blank in target", "GET /a b HTTP/1.1", 400},
      {"tab for a blank", "GET\t/ HTTP/1.1", 400},
      {"trailing blank", "GET / HTTP/1.1 ", 400},
      {"leading blank", " GET / HTTP/1.1", 400},
      {"fragment", "GET /#a HTTP/1.1", 400},
      {"bytes over 127", "GET /\xc3\xa9 HTTP/1.1", 400},
      {"method with a colon", "G:T / HTTP/1.1", 400},
      {"version in lower case", "GET / http/1.1", 400},
      {"no version", "GET /", 400},
      {"http 0.9 by name", "GET / HTTP/0.9", 505},
      {"http 1.2", "GET / HTTP/1.2", 505},
      {"http 2", "PRI * HTTP/2.0", 505},
      {"long version", "GET / HTTP/1.10", 400},
      {"empty", "", 400},
  };
  for (const auto& [name, line, want] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(verdict(line + "\r\nHost: h\r\n\r\n"), want);
  }
}

TEST(HeaderLines, AreTokensColonsAndPlainValues) {
  struct Case {
    const char* name;
    std::string fields;
    unsigned want;
  };
  const Case cases[] = {
      {"none", "", 200},
      {"blanks round the value", "A: \t b \t\r\n", 200},
      {"no blank", "A:b\r\n", 200},
      {"empty value", "A:\r\n", 200},
      {"bytes over 127", "A: \xff\r\n", 200},
      {"blank before the colon", "A : b\r\n", 400},
      {"empty name", ": b\r\n", 400},
      {"no colon", "A\r\n", 400},
      {"folded", "A: b\r\n c\r\n", 400},
      {"folded by a tab", "A: b\r\n\tc\r\n", 400},
      {"first line blank", " A: b\r\n", 400},
      {"control byte in a name", "A\x01: b\r\n", 400},
      {"control byte in a value", "A: b\x02\r\n", 400},
      {"delete byte in a value", "A: b\x7f\r\n", 400},
      {"NUL in a value", std::string("A: b\0c\r\n", 8), 400},
      {"bare LF", "A: b\nB: c\r\n", 400},
      {"bare CR", "A: b\rB: c\r\n", 400},
      {"CR CR LF", "A: b\r\r\n", 400},
  };
  for (const auto& [name, fields, want] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(verdict(post(fields)), want);
  }
}

TEST(Host, IsExactlyOneHostAndPort) {
  struct Case {
    const char* name;
    std::string head;
    unsigned want;
  };
  const Case cases[] = {
      {"name", "GET / HTTP/1.1\r\nHost: a-b_c.example\r\n\r\n", 200},
      {"name and port", "GET / HTTP/1.1\r\nhOST: h:8080\r\n\r\n", 200},
      {"IPv6", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200},
      {"absent in 1.1", "GET / HTTP/1.1\r\n\r\n", 400},
      {"absent in 1.0", "GET / HTTP/1.0\r\n\r\n", 200},
      {"twice", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
      {"twice in 1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"empty", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
      {"user", "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", 400},
      {"list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400},
      {"path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
      {"signed port", "GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n", 400},
      {"two ports", "GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", 400},
      {"open bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400},
      {"bytes after the bracket", "GET / HTTP/1.1\r\nHost: [::1]80\r\n\r\n", 400},
  };
  for (const auto& [name, head, want] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(verdict(head), want);
  }
}

// clause: W-40
TEST(BodyFraming, CannotBeReadInTwoWays) {
  struct Case {
    const char* name;
    std::string fields;
    unsigned want;
  };
  const Case cases[] = {
      {"length", "Content-Length: 5\r\n", 200},
      {"zero length", "Content-Length: 0\r\n", 200},
      {"largest length", "Content-Length: 18446744073709551615\r\n", 200},
      {"chunked", "Transfer-Encoding: chunked\r\n", 200},
      {"chunked in capitals", "transfer-encoding: CHUNKED\r\n", 200},
      {"both", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400},
      {"both, other order", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400},
      {"same length twice", "Content-Length: 5\r\nContent-Length: 5\r\n", 400},
      {"two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n", 400},
      {"list of lengths", "Content-Length: 5, 5\r\n", 400},
      {"negative length", "Content-Length: -1\r\n", 400},
      {"signed length", "Content-Length: +5\r\n", 400},
      {"hexadecimal length", "Content-Length: 0x5\r\n", 400},
      {"length with a blank", "Content-Length: 5 5\r\n", 400},
      {"empty length", "Content-Length:\r\n", 400},
      {"overflowing length", "Content-Length: 18446744073709551616\r\n", 400},
      {"chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400},
      {"chunked after gzip", "Transfer-Encoding: gzip, chunked\r\n", 400},
      {"chunked before identity", "Transfer-Encoding: chunked, identity\r\n", 400},
      {"identity", "Transfer-Encoding: identity\r\n", 400},
      {"quoted", "Transfer-Encoding: \"chunked\"\r\n", 400},
      {"vertical tab", "Transfer-Encoding: \vchunked\r\n", 400},
      {"list of connection options", "Connection: te, , close\r\n", 200},
      {"connection option with a blank", "Connection: keep alive\r\n", 400},
      {"connection option over 127", "Connection: close\xff\r\n", 400},
      {"expectation", "Expect: 100-continue\r\n", 200},
      {"unknown expectation", "Expect: tea\r\n", 417},
      {"two expectations", "Expect: 100-continue\r\nExpect: 100-continue\r\n", 400},
  };
  for (const auto& [name, fields, want] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(verdict(post(fields)), want);
  }
  EXPECT_EQ(verdict("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
}

TEST(RequestHead, SaysWhatTheServerNeeds) {
  const auto head = parse_request_head(
      "POST /a?b?c HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\nExpect: 100-Continue\r\nX: "
      "y\r\n\r\n");
  ASSERT_TRUE(head);
  EXPECT_EQ(head->request.method, "POST");
  EXPECT_EQ(head->request.target, "/a?b?c");
  EXPECT_EQ(head->request.path, "/a");
  EXPECT_EQ(head->request.query, "b?c");
  EXPECT_EQ(head->request.headers.find("x"), "y");
  EXPECT_EQ(head->framing.body, Body::length);
  EXPECT_EQ(head->framing.content_length, 7U);
  EXPECT_TRUE(head->expects_continue);
}

TEST(KeepAlive, FollowsVersionAndConnection) {
  struct Case {
    const char* name;
    const char* head;
    bool want;
  };
  const Case cases[] = {
      {"1.1", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", true},
      {"1.1 close", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n", false},
      {"close in a list", "GET / HTTP/1.1\r\nHost: h\r\nConnection: te, close\r\n\r\n", false},
      {"closed is not close", "GET / HTTP/1.1\r\nHost: h\r\nConnection: closed\r\n\r\n", true},
      {"1.0", "GET / HTTP/1.0\r\n\r\n", false},
      {"1.0 keep-alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
  };
  for (const auto& [name, head, want] : cases) {
    SCOPED_TRACE(name);
    const auto parsed = parse_request_head(head);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->framing.keep_alive, want);
  }
}

TEST(HeadScanner, FindsTheEndWhateverTheSlices) {
  const std::string head = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
  const std::string bytes = head + "GET /next";
  HeadScanner scanner;
  for (std::size_t size = 0; size < head.size(); ++size) {
    const auto end = scanner.scan(std::string_view(bytes).substr(0, size));
    ASSERT_TRUE(end && !*end) << size;
  }
  EXPECT_EQ(scanner.scan(bytes).value(), head.size());
}

TEST(HeadScanner, RefusesBytesNoHeadBeginsWith) {
  for (const char* bytes : {"\x16\x03\x01", "\n", "\rX", "\r\n"}) {
    HeadScanner scanner;
    const auto end = scanner.scan(bytes);
    ASSERT_FALSE(end) << bytes;
    EXPECT_EQ(end.error().status, 400U);
  }
}

// clause: W-40
TEST(HeadScanner, TakesSixteenKibAndNoByteMore) {
  const std::string frame = "GET / HTTP/1.1\r\nHost: h\r\nA: \r\n\r\n";
  const std::string room(limits::head_bytes_max - frame.size(), 'a');
  std::string largest = frame;
  largest.insert(frame.size() - 4, room);
  EXPECT_EQ(verdict(largest), 200U);
  std::string over = frame;
  over.insert(frame.size() - 4, room + "a");
  EXPECT_EQ(verdict(over), 431U);
}

TEST(RequestHead, TakesABoundedNumberOfFields) {
  std::string fields;
  for (std::size_t n = 1; n < limits::header_fields_max; ++n) fields += "A:\r\n";
  EXPECT_EQ(verdict(post(fields)), 200U);
  EXPECT_EQ(verdict(post(fields + "A:\r\n")), 431U);
}

TEST(ResponseHead, SaysWhereTheBodyEnds) {
  struct Case {
    const char* name;
    const char* method;
    const char* head;
    bool taken;
    Body body;
    bool keep_alive;
  };
  const Case cases[] = {
      {"length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", true, Body::length, true},
      {"empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, Body::none, true},
      {"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true,
       Body::chunked, true},
      {"until close", "GET", "HTTP/1.1 200 OK\r\n\r\n", true, Body::until_close, false},
      {"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", true, Body::none, true},
      {"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", true, Body::none, true},
      {"no reason", "GET", "HTTP/1.1 304\r\n\r\n", true, Body::none, true},
      {"two lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
       false, Body::none, false},
      {"short status", "GET", "HTTP/1.1 20\r\n\r\n", false, Body::none, false},
      {"status 600", "GET", "HTTP/1.1 600 X\r\n\r\n", false, Body::none, false},
      {"no version", "GET", "ICY 200 OK\r\n\r\n", false, Body::none, false},
      {"empty line", "GET", "\r\n\r\n", false, Body::none, false},
  };
  for (const Case& row : cases) {
    SCOPED_TRACE(row.name);
    const auto head = parse_response_head(row.head, row.method);
    ASSERT_EQ(head.has_value(), row.taken);
    if (!head) continue;
    EXPECT_EQ(head->framing.body, row.body);
    EXPECT_EQ(head->framing.keep_alive, row.keep_alive);
  }
}

// Decodes `wire` given in slices of `slice` bytes; "!STATUS" for a refusal, "?" when cut short.
std::string decode(std::string_view wire, std::size_t slice, std::uint64_t bytes_max = 100) {
  ChunkedDecoder decoder(bytes_max);
  std::string body;
  while (!wire.empty() && !decoder.done()) {
    std::string_view bytes = wire.substr(0, slice);
    while (!bytes.empty() && !decoder.done()) {
      const auto piece = decoder.next(bytes);
      if (!piece) return "!" + std::to_string(piece.error().status);
      body += piece->data;
      bytes.remove_prefix(piece->consumed);
      wire.remove_prefix(piece->consumed);
    }
  }
  return decoder.done() ? body : "?";
}

// clause: W-40
TEST(ChunkedDecoder, TakesPlainChunksAndNothingElse) {
  struct Case {
    const char* name;
    const char* wire;
    const char* want;
  };
  const Case cases[] = {
      {"two chunks", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde"},
      {"empty body", "0\r\n\r\n", ""},
      {"hexadecimal", "A\r\n0123456789\r\n0\r\n\r\n", "0123456789"},
      {"leading zeros", "0003\r\nabc\r\n000\r\n\r\n", "abc"},
      {"CRLF in the data", "4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"},
      {"next request", "1\r\na\r\n0\r\n\r\nGET /", "a"},
      {"cut", "3\r\nab", "?"},
      {"extension", "3;x=y\r\nabc\r\n0\r\n\r\n", "!400"},
      {"trailer", "1\r\na\r\n0\r\nX: y\r\n\r\n", "!400"},
      {"negative", "-3\r\nabc\r\n0\r\n\r\n", "!400"},
      {"signed", "+3\r\nabc\r\n0\r\n\r\n", "!400"},
      {"prefixed", "0x3\r\nabc\r\n0\r\n\r\n", "!400"},
      {"blank", "3 \r\nabc\r\n0\r\n\r\n", "!400"},
      {"no digits", "\r\nabc\r\n0\r\n\r\n", "!400"},
      {"bare LF after the size", "3\nabc\r\n0\r\n\r\n", "!400"},
      {"bare LF after the data", "3\r\nabc\n0\r\n\r\n", "!400"},
      {"data longer than its size", "3\r\nabcd\r\n0\r\n\r\n", "!400"},
      {"seventeen digits", "00000000000000003\r\nabc\r\n0\r\n\r\n", "!400"},
      {"overflow", "fffffffffffffffff\r\n", "!400"},
      {"huge", "ffffffffffffffff\r\n", "!413"},
      {"over the limit in one", "65\r\n", "!413"},
  };
  for (const auto& [name, wire, want] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(decode(wire, 1), want);
    EXPECT_EQ(decode(wire, 4096), want);
  }
}

TEST(ChunkedDecoder, CountsAllChunksAgainstTheLimit) {
  for (const std::size_t slice : {2, 4096}) {  // step by step, and a chunk at once
    EXPECT_EQ(decode("3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", slice, 6), "abcdef");
    EXPECT_EQ(decode("3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n", slice, 6), "!413");
  }
}

TEST(ChunkedDecoder, StaysRefused) {
  ChunkedDecoder decoder(10);
  EXPECT_FALSE(decoder.next("x"));
  EXPECT_FALSE(decoder.next("0"));
  EXPECT_FALSE(decoder.done());
}

TEST(HttpDate, IsTheFormOfTheStandard) {
  EXPECT_EQ(http_date(std::chrono::sys_seconds(std::chrono::seconds(784111777))),
            "Sun, 06 Nov 1994 08:49:37 GMT");
}

TEST(Headers, AreFoundWithoutRegardToCaseAndReplaced) {
  Headers headers{{"A", "1"}, {"B", "2"}, {"a", "3"}};
  EXPECT_EQ(headers.find("a"), "1");
  headers.set("A", "4");
  EXPECT_EQ(headers.find("a"), "4");
  EXPECT_EQ(headers.size(), 2U);
  EXPECT_EQ(headers.find("C"), std::nullopt);
  EXPECT_FALSE(writable(Headers{{"A", "b\r\nSet-Cookie: c"}}));
  EXPECT_FALSE(writable(Headers{{"A b", "c"}}));
}

}  // namespace
}  // namespace llorch::net
