// TaskGroup, Event and run_blocking.
#include <csignal>
#include <gtest/gtest.h>
#include <vector>

#include "net/run.h"
#include "net/testing.h"

namespace llorch::net {
namespace {

using std::chrono::milliseconds;
using testing::patience;
using testing::run_on;

TEST(TaskGroup, JoinsWhatItHasSpawned) {
  asio::io_context io{1};
  int ended = 0;
  const auto task = [&]() -> Task<void> {
    co_await sleep_for(milliseconds(1));
    ++ended;
  };
  run_on(io, [&]() -> Task<void> {
    TaskGroup group(io.get_executor());
    for (int n = 0; n < 3; ++n) group.spawn(task());
    EXPECT_EQ(group.size(), 3U);
    co_await group.join();
    EXPECT_EQ(group.size(), 0U);
  });
  EXPECT_EQ(ended, 3);
}

TEST(TaskGroup, CancelEndsEveryWait) {
  asio::io_context io{1};
  int unwound = 0;
  struct Count {
    int& at;
    ~Count() { ++at; }
  };
  Event never(io.get_executor());
  const auto task = [&]() -> Task<void> {
    const Count count{unwound};
    while (true) co_await never.wait();
  };
  run_on(io, [&]() -> Task<void> {
    TaskGroup group(io.get_executor());
    group.spawn(task());
    group.spawn(task());
    group.cancel();
    group.spawn(task());  // too late: cancelled at its first wait
    const bool paused = co_await never.wait_for(milliseconds(1));
    EXPECT_FALSE(paused);
    co_await group.join();
  });
  EXPECT_EQ(unwound, 3);
}

TEST(TaskGroup, OutlivesATaskThatThrows) {
  asio::io_context io{1};
  const auto task = []() -> Task<void> {
    co_await sleep_for(milliseconds(1));
    throw std::runtime_error("a defect");
  };
  run_on(io, [&]() -> Task<void> {
    TaskGroup group(io.get_executor());
    group.spawn(task());
    co_await group.join();
  });
}

TEST(TaskGroup, MayBeDestroyedWithItsTasksAndItsIoContext) {
  const auto task = []() -> Task<void> { co_await sleep_for(patience); };
  asio::io_context io{1};
  {
    TaskGroup group(io.get_executor());
    group.spawn(task());
    io.poll();
  }
  // Nothing is run any more: the task goes with the io_context, without a leak.
}

TEST(Event, RemembersOneRingAndWakesEveryWaiter) {
  asio::io_context io{1};
  Event event(io.get_executor());
  int woken = 0;
  const auto wait = [&]() -> Task<void> {
    co_await event.wait();
    ++woken;
  };
  run_on(io, [&]() -> Task<void> {
    event.ring();
    event.ring();
    co_await event.wait();
    const bool again = co_await event.wait_for(milliseconds(1));
    EXPECT_FALSE(again);
    TaskGroup group(io.get_executor());
    group.spawn(wait());
    group.spawn(wait());
    co_await sleep_for(milliseconds(1));
    event.ring();
    co_await group.join();
  });
  EXPECT_EQ(woken, 2);
}

TEST(RunBlocking, GivesTheResultAndLetsExceptionsOut) {
  const auto good = run_blocking<int>([](asio::io_context&) -> Task<Result<int>> { co_return 7; });
  EXPECT_EQ(good.value_or(0), 7);
  const auto bad = run_blocking<int>(
      [](asio::io_context&) -> Task<Result<int>> { co_return fail(Code::timeout, "late"); });
  EXPECT_EQ(bad.error().code, Code::timeout);
  EXPECT_THROW(run_to_end([](asio::io_context&) -> Task<void> {
                 throw std::runtime_error("a defect");
                 co_return;
               }),
               std::runtime_error);
}

TEST(RunBlocking, TellsOfASignalAndGoesOn) {
  int heard = 0;
  const auto body = [&](asio::io_context& io) -> Task<Result<int>> {
    Event never(io.get_executor());
    std::raise(SIGINT);
    for (int turn = 0; heard == 0 && turn < 1'000; ++turn) {
      const bool rung = co_await never.wait_for(milliseconds(1));
      static_cast<void>(rung);
    }
    co_return heard;
  };
  const auto result = run_blocking<int>(body, [&](int number) { heard = number; });
  EXPECT_EQ(result.value_or(0), SIGINT);
}

}  // namespace
}  // namespace llorch::net
