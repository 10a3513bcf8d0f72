#include <gtest/gtest.h>
#include <thread>

#include "base/limits.h"
#include "engine/allocation_budget.h"
#include "engine/outbox.h"
#include "engine/run.h"
#include "engine/task_thread.h"

namespace llorch {
namespace {

// clause: W-36
TEST(AllocationBudget, IsSpentByTime) {
  {
    const AllocationBudget budget(limits::mib * 512, std::chrono::milliseconds{20});
    AllocationBudget::check();
    const auto allocate = [] {
      for (int i = 0; i < 1'000'000'000; ++i) {
        ::operator delete(::operator new(8));
        AllocationBudget::check();
      }
    };
    EXPECT_THROW(allocate(), AllocationBudgetSpent);
  }
  ::operator delete(::operator new(8));
  AllocationBudget::check();  // allowed again
}

TEST(AllocationBudget, IsSpentByBytesAtTheNextQuestionNotAtAnAllocation) {
  const AllocationBudget budget(1'000, std::chrono::seconds{10});
  AllocationBudget::check();
  ::operator delete(::operator new(1'500));
  EXPECT_THROW(AllocationBudget::check(), AllocationBudgetSpent);
}

TEST(AllocationBudget, StopsOneHugeAllocation) {
  const AllocationBudget budget(limits::mib, std::chrono::seconds{10});
  EXPECT_THROW(std::vector<char>(1024 * limits::mib), AllocationBudgetSpent);
}

// clause: W-30
TEST(Outbox, RefusesWhenFullButAlwaysTakesTheEnd) {
  Outbox outbox;
  int rooms = 0;
  int ready = 0;
  outbox.on_room([&] { ++rooms; });
  outbox.on_ready([&] { ++ready; });
  for (std::size_t i = 0; i < limits::outbox_events_max; ++i) {
    ASSERT_TRUE(outbox.try_push(TokenOut{}));
  }
  EXPECT_EQ(ready, 1) << "told once, not per event";
  EXPECT_FALSE(outbox.try_push(TokenOut{}));
  EXPECT_TRUE(outbox.try_push(PrefillProgress{})) << "dropped, not refused";
  EXPECT_TRUE(outbox.try_push(Ended{}));
  std::vector<JobEvent> taken;
  outbox.take(taken);
  EXPECT_EQ(taken.size(), limits::outbox_events_max + 1);
  EXPECT_EQ(rooms, 1);
  outbox.take(taken);
  EXPECT_TRUE(taken.empty());
}

TEST(Outbox, TellsAConsumerThatTakesLateOfManyEventsAndOfTheEnd) {
  Outbox outbox;
  int ready = 0;
  outbox.on_ready([&] { ++ready; });
  std::vector<JobEvent> taken;
  outbox.take(taken, Outbox::Ready::late);
  for (std::size_t i = 1; i < limits::outbox_events_max / 2; ++i) outbox.try_push(TokenOut{});
  EXPECT_EQ(ready, 0);
  outbox.try_push(TokenOut{});
  EXPECT_EQ(ready, 1) << "half of the room is taken";
  outbox.take(taken, Outbox::Ready::late);
  EXPECT_EQ(taken.size(), limits::outbox_events_max / 2);
  outbox.try_push(TokenOut{});
  EXPECT_EQ(ready, 1);
  outbox.take(taken);
  EXPECT_EQ(taken.size(), 1U);
  outbox.try_push(TokenOut{});
  EXPECT_EQ(ready, 2) << "it is told at once again";
  outbox.take(taken, Outbox::Ready::late);
  outbox.try_push(Ended{});
  EXPECT_EQ(ready, 3);
}

TEST(TaskThread, RunsTasksInOrderOnItsOwnThread) {
  std::vector<int> seen;
  std::thread::id id;
  {
    TaskThread thread("test", limits::mib);
    std::mutex done;
    done.lock();
    for (int i = 0; i < 100; ++i) thread.post([&seen, i] { seen.push_back(i); });
    thread.post([&] {
      id = std::this_thread::get_id();
      done.unlock();
    });
    done.lock();
    done.unlock();
  }
  ASSERT_EQ(seen.size(), 100u);
  EXPECT_EQ(seen.back(), 99);
  EXPECT_NE(id, std::this_thread::get_id());
}

}  // namespace
}  // namespace llorch
