// Rings an Event of the io thread from any other thread: how the engine wakes a coroutine.
// Threads: the function any. Lifetime: it may outlive the Event, not the io_context.
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/post.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "net/asio.h"
#include "net/event.h"

namespace llorch {

// Room for one ring on its way, used again and again: waking a reader once a token allocates
// nothing.
class RingRoom {
 public:
  void* take(std::size_t bytes) {
    if (bytes <= bytes_.size() && !taken_.exchange(true)) return bytes_.data();
    return ::operator new(bytes);
  }
  void give(void* memory) {
    if (memory != bytes_.data()) return ::operator delete(memory);
    taken_ = false;
  }

 private:
  alignas(std::max_align_t) std::array<std::byte, 256> bytes_{};
  std::atomic<bool> taken_ = false;
};

template <class T>
struct RingAllocator {
  using value_type = T;

  explicit RingAllocator(std::shared_ptr<RingRoom> from) : room(std::move(from)) {}
  template <class U>
  explicit RingAllocator(const RingAllocator<U>& other) : room(other.room) {}
  T* allocate(std::size_t count) { return static_cast<T*>(room->take(count * sizeof(T))); }
  void deallocate(T* memory, std::size_t /*count*/) { room->give(memory); }
  bool operator==(const RingAllocator&) const = default;

  std::shared_ptr<RingRoom> room;
};

// `room`: of its rings, shared with none.
inline std::function<void()> waker(const Executor& executor,
                                   const std::shared_ptr<net::Event>& event,
                                   std::shared_ptr<RingRoom> room = std::make_shared<RingRoom>()) {
  return [executor, weak = std::weak_ptr(event),
          allocator = RingAllocator<std::byte>(std::move(room))] {
    asio::post(executor, asio::bind_allocator(allocator, [weak] {
                 if (const auto waiting = weak.lock()) waiting->ring();
               }));
  };
}

}  // namespace llorch
