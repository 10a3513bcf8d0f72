// Rings come through one by one and all at once, from a room that is used again.
#include "worker/waker.h"

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>
#include <memory>

namespace llorch {
namespace {

TEST(RingRoom, HasRoomForOneAndTakesItBack) {
  RingRoom room;
  auto* const first = room.take(100);
  auto* const second = room.take(100);
  EXPECT_NE(first, second) << "the second is allocated";
  room.give(first);
  EXPECT_EQ(room.take(200), first);
  room.give(second);
  auto* const huge = room.take(10'000);
  EXPECT_NE(huge, first);
  room.give(huge);
}

TEST(Waker, PutsItsRingIntoTheRoom) {
  asio::io_context context;
  const auto event = std::make_shared<net::Event>(context.get_executor());
  const auto room = std::make_shared<RingRoom>();
  auto* const place = room->take(1);
  room->give(place);
  const auto wake = waker(context.get_executor(), event, room);
  for (int i = 0; i < 3; ++i) {
    wake();
    auto* const beside = room->take(1);
    EXPECT_NE(beside, place);
    room->give(beside);
    EXPECT_EQ(context.poll(), 1U);
    context.restart();
  }
  EXPECT_EQ(room->take(1), place);
}

TEST(Waker, RingsAsOftenAsItIsAskedTo) {
  asio::io_context context;
  const auto event = std::make_shared<net::Event>(context.get_executor());
  const auto wake = waker(context.get_executor(), event);
  for (int i = 0; i < 5; ++i) wake();  // more than there is room for
  EXPECT_EQ(context.poll(), 5U);
}

TEST(Waker, MayOutliveItsEvent) {
  asio::io_context context;
  auto event = std::make_shared<net::Event>(context.get_executor());
  const auto wake = waker(context.get_executor(), event);
  event.reset();
  wake();
  EXPECT_EQ(context.poll(), 1U);
}

}  // namespace
}  // namespace llorch
