// Turns a job's events into the bytes of its reply: the stream of /execute, OpenAI frames, one
// OpenAI body, or the frames of a relay. Pure.
// Threads: one owner. Lifetime: one object a reply.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "protocol/job_event.h"
#include "protocol/job_stream.h"
#include "protocol/openai_reply.h"

namespace llorch {

class JobEncoder {
 public:
  virtual ~JobEncoder() = default;
  // Each call appends what is to be sent, often nothing. PrefillProgress is metrics()'s matter.
  virtual void started(const Started& event, WallTime at, std::string& out) = 0;
  virtual void token(const TokenOut& event, std::string& out) = 0;
  virtual void ended(const Ended& event, std::string& out) = 0;
  virtual void failed(const Error& error, std::string& out) = 0;
  virtual void metrics(const MetricsEvent& event, std::string& out) = 0;

  virtual bool streams() const { return true; }        // false: one body at the end
  virtual bool takes_metrics() const { return true; }  // false: comments only
};

// What the `started` event says beside the engine's part.
struct StreamNames {
  std::string job_id;
  std::string model;
  std::string correlation_id;
};

std::unique_ptr<JobEncoder> make_execute_encoder(StreamNames names, std::int64_t resumed);
std::unique_ptr<JobEncoder> make_openai_encoder(StreamNames names, OpenAiReplyOptions options);

}  // namespace llorch
