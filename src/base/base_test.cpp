#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/random.h"
#include "base/result.h"
#include "base/second_quota.h"

namespace llorch {
namespace {

// clause: E-4, E-6
TEST(Code, HasOneRowInOrderAndSurvivesTheWire) {
  for (int i = 0; i <= static_cast<int>(Code::insufficient_storage); ++i) {
    const auto code = static_cast<Code>(i);
    EXPECT_EQ(code_from_wire(wire_name(code)), code) << i;
    EXPECT_GE(http_status(code), 400u);
    EXPECT_NE(exit_code(code), exit_ok);
  }
  EXPECT_EQ(code_from_wire("NO_SUCH_CODE"), std::nullopt);
}

// Ends with 0 when closing the log gives up on a stderr that is full and read by nobody.
[[noreturn]] void close_a_stuck_log() {
  int ends[2] = {};
  const bool piped = ::pipe(ends) == 0;
  ::fcntl(ends[1], F_SETFL, O_NONBLOCK);
  while (piped && ::write(ends[1], "x", 1) == 1) continue;
  ::fcntl(ends[1], F_SETFL, 0);
  ::dup2(ends[1], 2);
  log_open(LogLevel::info);
  log_event(LogLevel::info, "test", "stuck");
  ::_exit(log_close_in_time() ? 1 : 0);
}

// A second signal did not end a worker whose stderr was stuck: it waited to write its log.
// clause: W-42
TEST(Log, AnExitDoesNotWaitForAReaderThatIsGone) {
  EXPECT_EXIT(close_a_stuck_log(), testing::ExitedWithCode(0), "");
}

TEST(Rfc3339, IsUtcWithMilliseconds) {
  EXPECT_EQ(rfc3339(WallTime{std::chrono::milliseconds{1'700'000'000'123}}),
            "2023-11-14T22:13:20.123Z");
}

TEST(RandomUuid, IsVersionFour) {
  const auto id = random_uuid();
  ASSERT_EQ(id.size(), 36u);
  EXPECT_EQ(id[14], '4');
  EXPECT_NE(id, random_uuid());
}

TEST(TimeOrderedUuid, IsVersionSevenAndSortsByTime) {
  const auto first = time_ordered_uuid(wall_time(1'700'000'000'123));
  ASSERT_EQ(first.size(), 36u);
  EXPECT_EQ(first.substr(0, 15), "018bcfe5-687b-7");
  EXPECT_NE(first, time_ordered_uuid(wall_time(1'700'000'000'123)));
  EXPECT_LT(first, time_ordered_uuid(wall_time(1'700'000'000'124)));
}

TEST(SecondQuota, GivesSoManyASecond) {
  SecondQuota quota(2);
  const SteadyTime begun{};
  const auto taken = [&](int ms) { return quota.take(begun + std::chrono::milliseconds(ms)); };
  EXPECT_TRUE(taken(0));
  EXPECT_TRUE(taken(10));
  EXPECT_FALSE(taken(999));
  EXPECT_TRUE(taken(1'000));
  EXPECT_TRUE(taken(1'001));
  EXPECT_FALSE(taken(1'999));
}

TEST(Crc32c, IsThatOfABitByBitDivisionForEveryLengthAndCut) {
  const auto by_bits = [](std::string_view bytes) {
    std::uint32_t crc = ~0U;
    for (const char c : bytes) {
      crc ^= static_cast<unsigned char>(c);
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78U : 0U);
    }
    return ~crc;
  };
  std::string bytes;
  for (int i = 0; i < 67; ++i) {
    EXPECT_EQ(crc32c(bytes), by_bits(bytes)) << i;
    const auto cut = bytes.size() / 3;
    const auto first = crc32c(std::string_view(bytes).substr(0, cut));
    EXPECT_EQ(crc32c(std::string_view(bytes).substr(cut), first), crc32c(bytes)) << i;
    bytes += static_cast<char>(i * 37);
  }
}

}  // namespace
}  // namespace llorch
