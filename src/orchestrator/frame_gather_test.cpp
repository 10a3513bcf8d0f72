#include "orchestrator/frame_gather.h"

#include <chrono>
#include <gtest/gtest.h>

namespace llorch {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

TEST(FrameGather, PassesSlowFramesOnAtOnce) {
  FrameGather gather;
  SteadyTime now{milliseconds(1'000)};
  for (int frame = 0; frame < 3; ++frame, now += milliseconds(5)) {
    gather.read(1, now);
    EXPECT_FALSE(gather.fast());
    EXPECT_TRUE(gather.due(8'000));
    gather.passed_on();
  }
}

TEST(FrameGather, HoldsFastFramesForAMoment) {
  FrameGather gather;
  const SteadyTime begun{milliseconds(1'000)};
  int passed_on = 0;
  for (int turn = 0; turn < 20; ++turn) {
    const SteadyTime now = begun + turn * milliseconds(1);
    gather.read(3, now);
    EXPECT_TRUE(gather.fast());
    if (!gather.due(64)) continue;
    gather.passed_on();
    ++passed_on;
  }
  EXPECT_EQ(passed_on, 3) << "the first of them at once, then every 8 ms";
}

TEST(FrameGather, TakesOneFrameSoonAfterAnotherForFast) {
  FrameGather gather;
  const SteadyTime begun{milliseconds(1'000)};
  gather.read(1, begun);
  gather.passed_on();
  gather.read(1, begun + microseconds(300));
  EXPECT_TRUE(gather.fast());
  EXPECT_FALSE(gather.due(0));
}

TEST(FrameGather, HoldsNothingOfWhatGoesAtOnce) {
  FrameGather gather;
  const SteadyTime begun{milliseconds(1'000)};
  gather.read(0, begun);
  EXPECT_TRUE(gather.holds());
  EXPECT_TRUE(gather.due(64));
  gather.passed_on();
  gather.read(0, begun + microseconds(100));
  EXPECT_TRUE(gather.due(64)) << "the first token comes right behind";
}

TEST(FrameGather, HoldsLongerForMany) {
  EXPECT_EQ(FrameGather::hold_ms(0), 1);
  EXPECT_EQ(FrameGather::hold_ms(7), 1);
  EXPECT_EQ(FrameGather::hold_ms(32), 5);
  EXPECT_EQ(FrameGather::hold_ms(8'000), 8);
}

// Two tokens a millisecond, 64 streams.
TEST(FrameGather, PausesNotPastTheEndOfTheAnswer) {
  FrameGather gather;
  const SteadyTime begun{milliseconds(1'000)};
  gather.read(1, begun);
  gather.read(4, begun + milliseconds(2));
  EXPECT_EQ(gather.steps(64, 1'000), 8) << "4 ms";
  EXPECT_EQ(gather.steps(64, 4), 4);
  EXPECT_EQ(gather.steps(64, 1), 1);
  EXPECT_EQ(gather.steps(64, 0), 1);
  EXPECT_EQ(gather.steps(64, FrameGather::unknown), 2) << "it may end at any moment";
  EXPECT_EQ(gather.steps(0, 1'000), 2) << "no longer than frames of a lone stream are held";
}

}  // namespace
}  // namespace llorch
