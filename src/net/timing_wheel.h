// Deadlines by the thousand at a resolution of 100 ms: arming one is a store, not a timer
// operation, so a deadline may be moved at every write.
// Threads: one. Lifetime: a Deadline never outlives its wheel. Pure: time comes in by the Clock.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/clock.h"

namespace llorch::net {

class TimingWheel;

// A link of a circular list; alone, it points at itself.
struct WheelLink {
  WheelLink* previous = this;
  WheelLink* next = this;
  void unlink();
  void push_back(WheelLink& link);
};

class Deadline : private WheelLink {
 public:
  // `expired` may arm, disarm and destroy any deadline, this one too.
  Deadline(TimingWheel& wheel, std::function<void()> expired);
  ~Deadline();
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

  // Expires once, `after_ms` from now, up to 200 ms late and never early; replaces the last one.
  void arm(std::int64_t after_ms);
  void disarm();
  bool armed() const { return due_ != never; }

 private:
  friend class TimingWheel;
  static constexpr std::int64_t never = INT64_MAX;

  TimingWheel& wheel_;
  std::function<void()> expired_;
  std::int64_t due_ = never;    // in ticks
  std::int64_t filed_ = never;  // the tick of the bucket it is in; moved on when that comes
};

class TimingWheel {
 public:
  static constexpr std::int64_t tick_ms = 100;

  // `wake` is called when the first deadline is armed: advance() is wanted each tick until idle().
  explicit TimingWheel(const Clock& clock, std::function<void()> wake = {});
  // Calls what has expired by now.
  void advance();
  bool idle() const { return armed_ == 0; }

 private:
  friend class Deadline;
  static constexpr std::int64_t buckets = 1024;  // 102 s; later ones are filed again on the way
  std::int64_t now_tick() const;
  void file(Deadline& deadline);

  const Clock& clock_;
  std::function<void()> wake_;
  std::vector<WheelLink> wheel_;
  std::int64_t turned_ = 0;  // the last tick advance() has seen
  std::size_t armed_ = 0;
};

}  // namespace llorch::net
