#include "net/timing_wheel.h"

#include <gtest/gtest.h>
#include <memory>

namespace llorch::net {
namespace {

using std::chrono::milliseconds;

class StillClock final : public Clock {
 public:
  SteadyTime now() const override { return SteadyTime(milliseconds(at_ms)); }
  WallTime wall() const override { return {}; }
  std::int64_t at_ms = 1'000'000;
};

struct Turned {
  StillClock clock;
  TimingWheel wheel{clock};
  void pass(std::int64_t ms) {
    clock.at_ms += ms;
    wheel.advance();
  }
};

TEST(Deadline, ExpiresOnceNeverEarlyAndAtMost200MsLate) {
  struct Case {
    const char* name;
    std::int64_t after_ms;
  };
  const Case cases[] = {{"at once", 0},
                        {"one tick", 100},
                        {"odd", 1'234},
                        {"a turn of the wheel", 102'400},
                        {"many turns", 1'000'000}};
  for (const auto& [name, after_ms] : cases) {
    SCOPED_TRACE(name);
    Turned at;
    int expired = 0;
    Deadline deadline(at.wheel, [&] { ++expired; });
    deadline.arm(after_ms);
    for (std::int64_t passed = 50; passed < after_ms; passed += 50) {
      at.pass(50);
      ASSERT_EQ(expired, 0) << passed;
    }
    for (int n = 0; n < 5; ++n) at.pass(50);
    EXPECT_EQ(expired, 1);
    EXPECT_TRUE(at.wheel.idle());
    at.pass(200'000);
    EXPECT_EQ(expired, 1);
  }
}

TEST(Deadline, MovesLaterEarlierAndOff) {
  Turned at;
  int expired = 0;
  Deadline deadline(at.wheel, [&] { ++expired; });
  deadline.arm(1'000);
  at.pass(900);
  deadline.arm(1'000);
  at.pass(900);
  EXPECT_EQ(expired, 0);
  deadline.arm(100'000);
  deadline.arm(300);
  at.pass(500);
  EXPECT_EQ(expired, 1);
  deadline.arm(300);
  deadline.disarm();
  at.pass(1'000);
  EXPECT_EQ(expired, 1);
  EXPECT_TRUE(at.wheel.idle());
}

TEST(Deadline, ExpiresAfterALongPause) {
  Turned at;
  int expired = 0;
  Deadline soon(at.wheel, [&] { ++expired; });
  Deadline late(at.wheel, [&] { ++expired; });
  soon.arm(1'000);
  late.arm(500'000);
  at.pass(10'000'000);
  EXPECT_EQ(expired, 2);
}

TEST(Deadline, MayDestroyOthersAndItselfWhenItExpires) {
  Turned at;
  auto first = std::make_unique<Deadline>(at.wheel, [] {});
  std::unique_ptr<Deadline> second;
  second = std::make_unique<Deadline>(at.wheel, [&] {
    first.reset();
    second.reset();
  });
  second->arm(500);
  first->arm(500);
  at.pass(1'000);
  EXPECT_EQ(first, nullptr);
  EXPECT_EQ(second, nullptr);
  EXPECT_TRUE(at.wheel.idle());
}

TEST(TimingWheel, AsksToBeTurnedOnlyWhenTheFirstDeadlineIsArmed) {
  StillClock clock;
  int woken = 0;
  TimingWheel wheel(clock, [&] { ++woken; });
  Deadline first(wheel, [] {});
  Deadline second(wheel, [] {});
  first.arm(1'000);
  second.arm(1'000);
  first.arm(2'000);
  EXPECT_EQ(woken, 1);
  first.disarm();
  second.disarm();
  first.arm(1'000);
  EXPECT_EQ(woken, 2);
}

}  // namespace
}  // namespace llorch::net
