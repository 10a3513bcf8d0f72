// The bounded channel of one job's events from the engine to whoever writes them to the client.
// Threads: one producer (the engine), one consumer (the net thread). The callbacks are called
// without the lock held. A full outbox parks its slot only; other jobs go on.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "protocol/job_event.h"

namespace llorch {

class Outbox {
 public:
  using Callback = std::function<void()>;
  enum class Ready { at_once, late };

  // Consumer, before submit(): called by the producer when the outbox stops being empty, or where
  // the consumer takes `late`, when the end has come or half of the room is taken.
  void on_ready(Callback ready);
  // Producer, once: called by the consumer's take() when a refused push would fit again.
  void on_room(Callback room);

  // False when the outbox is full; Ended and Failed always fit. Nothing follows those two.
  // PrefillProgress is dropped, not refused, when full.
  bool try_push(JobEvent event);
  // All events so far, in order; `into` is emptied first, and its room serves the next ones.
  // `next`: when on_ready()'s function is called for those to come.
  void take(std::vector<JobEvent>& into, Ready next = Ready::at_once);

 private:
  std::mutex mutex_;
  std::vector<JobEvent> events_;
  bool refused_ = false;
  Ready next_ = Ready::at_once;
  std::shared_ptr<const Callback> ready_;  // copied for each call
  Callback room_;
};

}  // namespace llorch
