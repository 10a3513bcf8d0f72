#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/random.h"
#include "base/result.h"

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

}  // namespace
}  // namespace llorch
