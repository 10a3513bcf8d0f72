#include "engine/text_stream.h"

#include <gtest/gtest.h>
#include <random>

namespace llorch {
namespace {

struct Told {
  std::string text;
  int stop = -1;
  bool held = false;
};

Told feed_all(TextStream& stream, const std::vector<std::string>& pieces) {
  Told told;
  for (const auto& piece : pieces) {
    const auto step = stream.feed(piece);
    told.text += step.text;
    told.held = step.held;
    told.stop = step.stop_index;
    if (told.stop >= 0) break;
  }
  return told;
}

// clause: W-22, W-23
TEST(TextStream, HoldsBackExactlyWhatCouldBecomeAStopString) {
  struct Case {
    const char* name;
    std::vector<std::string> stops;
    std::vector<std::string> pieces;
    std::string shown;
    int stop;
    bool held;
  };
  const Case cases[] = {
      {"no stops", {}, {"a", "b"}, "ab", -1, false},
      {"inside one piece", {"END"}, {"the END of"}, "the ", 0, false},
      {"across three pieces", {"END"}, {"the E", "N", "D!"}, "the ", 0, false},
      {"a false start comes out", {"END"}, {"E", "NX"}, "ENX", -1, false},
      {"a start is kept", {"END"}, {"xE", "N"}, "x", -1, true},
      {"the earliest of two wins", {"bc", "ab"}, {"xabc"}, "x", 1, false},
      {"a stop that repeats itself", {"aab"}, {"a", "a", "a", "b"}, "a", 0, false},
      {"newline pairs", {"\n\n"}, {"a\n", "\nb"}, "a", 0, false},
      {"whole text is the stop", {"stop"}, {"stop"}, "", 0, false}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    TextStream stream(c.stops);
    const auto told = feed_all(stream, c.pieces);
    EXPECT_EQ(told.text, c.shown);
    EXPECT_EQ(told.stop, c.stop);
    EXPECT_EQ(told.held, c.held);
  }
}

// clause: W-22
TEST(TextStream, ShowsWholeCharactersOnly) {
  TextStream stream({});
  EXPECT_EQ(stream.feed("\xF0\x9F").text, "");
  EXPECT_EQ(stream.feed("\x98").text, "");
  EXPECT_EQ(stream.feed("\x80!").text, "\xF0\x9F\x98\x80!");
}

TEST(TextStream, ReplacesBytesThatAreNoCharacter) {
  TextStream stream({});
  EXPECT_EQ(stream
                .feed("a\xFF"
                      "b")
                .text,
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(stream.feed("\xE2\x82").text, "");
  EXPECT_EQ(stream.flush(), "\xEF\xBF\xBD");
}

TEST(TextStream, FlushGivesWhatWasHeld) {
  TextStream stream({"END"});
  stream.feed("abcEN");
  EXPECT_EQ(stream.flush(), "EN");
  EXPECT_EQ(stream.flush(), "");
}

// However a text is cut into pieces, the same text comes out.
TEST(TextStream, IsAFunctionOfTheBytesAlone) {
  const std::string text = "Grüße, 世界 😀 and then STO and STOP never shown";
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    TextStream stream({"STOP", "ST!"});
    std::vector<std::string> pieces;
    for (std::size_t at = 0; at < text.size();) {
      const auto size = std::min<std::size_t>(1 + random() % 5, text.size() - at);
      pieces.push_back(text.substr(at, size));
      at += size;
    }
    const auto told = feed_all(stream, pieces);
    ASSERT_EQ(told.text, "Grüße, 世界 😀 and then STO and ");
    ASSERT_EQ(told.stop, 0);
  }
}

}  // namespace
}  // namespace llorch
