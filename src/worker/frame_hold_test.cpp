#include "worker/frame_hold.h"

#include <gtest/gtest.h>

namespace llorch {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr SteadyTime begun{milliseconds(1'000)};

// clause: W-54
TEST(FrameHold, HoldsNoFrameOfASlowStream) {
  FrameHold hold(milliseconds(8));
  for (int token = 0; token < 3; ++token) {
    hold.took(1, begun + token * milliseconds(2));
    EXPECT_FALSE(hold.fast());
  }
}

// clause: W-54
TEST(FrameHold, HoldsWhatComesBehindTheFirstTokensOfAFastOne) {
  FrameHold hold(milliseconds(8));
  hold.took(0, begun);  // it has started
  EXPECT_FALSE(hold.fast());
  hold.took(1, begun + microseconds(100));
  EXPECT_FALSE(hold.fast()) << "how fast it is is not known yet";
  hold.took(1, begun + microseconds(400));
  EXPECT_TRUE(hold.fast());
  hold.took(26, begun + microseconds(8'400));
  EXPECT_TRUE(hold.fast());
  hold.took(0, begun + microseconds(16'400));
  EXPECT_FALSE(hold.fast()) << "nothing has come meanwhile";
}

// clause: W-54
TEST(FrameHold, CountsTheTokensOfAStepBySpeculationAgainstItsTime) {
  FrameHold hold(milliseconds(8));
  hold.took(1, begun);
  hold.took(4, begun + milliseconds(12));
  EXPECT_FALSE(hold.fast()) << "3 ms a token";
}

// clause: W-54
TEST(FrameHold, WaitsOnlyForWhatComesMeanwhile) {
  FrameHold hold(milliseconds(1));
  hold.took(1, begun);
  hold.took(1, begun + microseconds(1'500));
  EXPECT_FALSE(hold.fast());
  hold.took(1, begun + microseconds(2'000));
  EXPECT_TRUE(hold.fast());
}

// clause: W-54
TEST(FrameHold, HoldsNothingUnasked) {
  FrameHold hold(milliseconds(0));
  hold.took(1, begun);
  hold.took(1, begun + microseconds(1));
  EXPECT_FALSE(hold.fast());
}

}  // namespace
}  // namespace llorch
