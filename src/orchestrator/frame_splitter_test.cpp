#include "orchestrator/frame_splitter.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "base/limits.h"

namespace llorch {
namespace {

struct Kept {
  std::string id, type, data, rest;
  bool operator==(const Kept&) const = default;
};

constexpr std::string_view stream =
    "id: 1\nevent: started\ndata: {\"a\":1}\n\n"
    ":\n\n"
    "data: {\"role\":1}\n\n"
    "id: 3:17,4\ndata: {\"t\":\"x\"}\n\n";

std::vector<Kept> split(std::string_view bytes, std::size_t piece) {
  FrameSplitter splitter;
  std::vector<Kept> frames;
  RelayFrame frame;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    EXPECT_TRUE(splitter.feed(bytes.substr(at, piece)));
    while (splitter.next(frame)) {
      frames.push_back({std::string(frame.id), std::string(frame.type), std::string(frame.data),
                        std::string(frame.rest)});
    }
  }
  return frames;
}

TEST(FrameSplitter, GivesTheSameFramesHoweverTheBytesArrive) {
  const std::vector<Kept> want = {
      {"1", "started", "{\"a\":1}", "event: started\ndata: {\"a\":1}\n\n"},
      {"", "", "{\"role\":1}", "data: {\"role\":1}\n\n"},
      {"3:17,4", "", "{\"t\":\"x\"}", "data: {\"t\":\"x\"}\n\n"}};
  for (std::size_t piece = 1; piece <= stream.size(); ++piece) {
    EXPECT_EQ(split(stream, piece), want) << "pieces of " << piece;
  }
}

TEST(FrameSplitter, TakesBytesPutIntoItsInbox) {
  FrameSplitter splitter;
  RelayFrame frame;
  splitter.inbox() += stream.substr(0, 30);
  while (splitter.next(frame)) EXPECT_EQ(frame.type, "started");
  splitter.inbox() += stream.substr(30);
  ASSERT_TRUE(splitter.check());
  std::string last;
  while (splitter.next(frame)) last = frame.rest;
  EXPECT_EQ(last, "data: {\"t\":\"x\"}\n\n");
}

TEST(FrameSplitter, GivesBackItsMemoryOnlyBetweenFrames) {
  FrameSplitter splitter;
  RelayFrame frame;
  ASSERT_TRUE(splitter.feed("data: {\"a\":1}\n\ndata: {\"b"));
  ASSERT_TRUE(splitter.next(frame) && !splitter.next(frame));
  splitter.release_if_empty();
  ASSERT_TRUE(splitter.feed("\":2}\n\n") && splitter.next(frame));
  EXPECT_EQ(frame.data, "{\"b\":2}");
  splitter.release_if_empty();
  EXPECT_EQ(splitter.inbox().capacity(), std::string().capacity());
  ASSERT_TRUE(splitter.feed("data: {}\n\n") && splitter.next(frame));
  EXPECT_EQ(frame.data, "{}");
}

TEST(FrameSplitter, RefusesAFrameOverTheLimit) {
  FrameSplitter splitter;
  const std::string part(limits::frame_bytes_max / 2, 'x');
  ASSERT_TRUE(splitter.feed("data: "));
  ASSERT_TRUE(splitter.feed(part));
  const auto refused = splitter.feed(part);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::too_large);
}

}  // namespace
}  // namespace llorch
