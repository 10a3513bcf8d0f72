#include "protocol/sse.h"

#include <gtest/gtest.h>
#include <string>

namespace llorch {
namespace {

std::vector<SseEvent> parse(std::string_view stream, std::size_t piece_bytes) {
  SseParser parser;
  std::vector<SseEvent> events;
  for (std::size_t i = 0; i < stream.size(); i += piece_bytes) {
    EXPECT_TRUE(parser.feed(stream.substr(i, piece_bytes), events).has_value());
  }
  return events;
}

TEST(SseParser, ReadsWhatTheStandardDescribesHoweverItIsCut) {
  struct Case {
    const char* name;
    std::string_view stream;
    std::vector<SseEvent> want;
  };
  const Case cases[] = {
      {"one event", "data: a\n\n", {{.data = "a"}}},
      {"typed, with id", "id: 3:9\nevent: token\ndata: {}\n\n", {{"token", "{}", "3:9"}}},
      {"several data lines", "data: a\ndata: b\n\n", {{.data = "a\nb"}}},
      {"CR", "data: a\r\rdata: b\r\r", {{.data = "a"}, {.data = "b"}}},
      {"CRLF", "data: a\r\ndata: b\r\n\r\n", {{.data = "a\nb"}}},
      {"mixed ends", "data: a\r\n\ndata: b\n\r\n", {{.data = "a"}, {.data = "b"}}},
      {"byte order mark",
       "\xEF\xBB\xBF"
       "data: a\n\n",
       {{.data = "a"}}},
      {"no second mark",
       "data: a\n\n\xEF\xBB\xBF"
       "data: b\n\n",
       {{.data = "a"}}},
      {"comment", ": hi\n\ndata: a\n\n", {{.data = "a"}}},
      {"no space", "data:a\n\n", {{.data = "a"}}},
      {"one space only goes", "data:  a\n\n", {{.data = " a"}}},
      {"field without colon", "data\n\n", {{.data = ""}}},
      {"empty data", "data:\n\n", {{.data = ""}}},
      {"no data, no event", "event: x\n\ndata: a\n\n", {{.data = "a"}}},
      {"id stays",
       "id: 1\ndata: a\n\ndata: b\n\n",
       {{.data = "a", .id = "1"}, {.data = "b", .id = "1"}}},
      {"id with NUL is ignored", {"id: \0\ndata: a\n\n", 15}, {{.data = "a"}}},
      {"unknown field", "retry: 5\nfoo: x\ndata: a\n\n", {{.data = "a"}}},
      {"cut off at the end", "data: a\n\ndata: b\n", {{.data = "a"}}}};
  for (const auto& [name, stream, want] : cases) {
    for (const std::size_t piece_bytes :
         {std::size_t{1}, std::size_t{2}, std::size_t{3}, stream.size()}) {
      SCOPED_TRACE(std::string(name) + " in pieces of " + std::to_string(piece_bytes));
      EXPECT_EQ(parse(stream, piece_bytes), want);
    }
  }
}

TEST(SseParser, RefusesAnEventPastItsBound) {
  struct Case {
    const char* name;
    std::string stream;
    bool want;
  };
  const Case cases[] = {
      {"fits", "data: 1234567890\n\n", true},
      {"line too long", "data: 12345678901234567\n\n", false},
      {"lines together too long", "data: 1234567\ndata: 1234567\ndata: 12\n\n", false},
      {"endless comment", ":" + std::string(30, 'x'), false}};
  for (const auto& [name, stream, want] : cases) {
    SCOPED_TRACE(name);
    SseParser parser(20);
    std::vector<SseEvent> events;
    const auto fed = parser.feed(stream, events);
    EXPECT_EQ(fed.has_value(), want);
    if (want) continue;
    EXPECT_EQ(fed.error().code, Code::too_large);
    EXPECT_FALSE(parser.feed("data: a\n\n", events).has_value()) << "a spent parser stays spent";
  }
}

TEST(SseFrame, IsReadBackAsItWasWritten) {
  std::string out;
  append_sse_frame(out, "2:7", "token", "{}");
  append_sse_frame(out, "", "", "[DONE]");
  EXPECT_EQ(out, "id: 2:7\nevent: token\ndata: {}\n\ndata: [DONE]\n\n");
  const auto events = parse(out, 5);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0], (SseEvent{"token", "{}", "2:7"}));
  EXPECT_EQ(events[1].data, "[DONE]");
}

}  // namespace
}  // namespace llorch
