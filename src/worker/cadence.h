// When a stream is due a comment or a metrics event, and until when its headers may wait.
// Threads: one. Pure: time comes in from outside.
#pragma once

#include "base/clock.h"

namespace llorch {

class Cadence {
 public:
  // `with_metrics`: the stream carries metrics events (/execute and relays; not /v1).
  Cadence(SteadyTime now, bool with_metrics);

  bool headers_due(SteadyTime now) const;  // 5 s without an event
  bool metrics_due(SteadyTime now) const;  // each second; sooner, but at most 4/s, after news
  bool comment_due(SteadyTime now) const;  // 10 s of silence

  void headers_written(SteadyTime now);
  void wrote(SteadyTime now) { last_write_ = now; }
  void metrics_written(SteadyTime now);
  void metrics_news() { news_ = true; }  // prefill went on

  // The next moment at which one of the three becomes due.
  SteadyTime next() const;

 private:
  SteadyTime metrics_time() const;

  bool with_metrics_;
  bool headers_out_ = false;
  bool news_ = false;
  SteadyTime begun_;
  SteadyTime last_write_;
  SteadyTime last_metrics_;
};

}  // namespace llorch
