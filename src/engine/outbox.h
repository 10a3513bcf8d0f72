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

  // Consumer, before submit(): called by the producer when the outbox stops being empty.
  void on_ready(Callback ready);
  // Producer, once: called by the consumer's take() when a refused push would fit again.
  void on_room(Callback room);

  // False when the outbox is full; Ended and Failed always fit. Nothing follows those two.
  // PrefillProgress is dropped, not refused, when full.
  bool try_push(JobEvent event);
  // All events so far, in order; `into` is emptied first, and its room serves the next ones.
  void take(std::vector<JobEvent>& into);

 private:
  std::mutex mutex_;
  std::vector<JobEvent> events_;
  bool refused_ = false;
  std::shared_ptr<const Callback> ready_;  // copied for each call
  Callback room_;
};

}  // namespace llorch
