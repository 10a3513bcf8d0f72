// Questions to one worker of this host over its HTTP and its log. Threads: one.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "pool/context.h"
#include "pool/worker_files.h"

namespace llorch {

// "idle", "busy", "loading" or "draining" as /health says; "unreachable" when it does not.
std::string probe_state(const PoolContext& context, const WorkerRecord& record);

struct Trial {
  std::string text;
  std::int64_t tokens_out = 0;
  std::string stop_reason;
  double ttft_ms = 0;
  double tokens_per_second = 0;  // after the first token
};
// Sends one prompt as a user message and hands on the text as it comes. `print` gives false to
// end it. Errors: unreachable, timeout, cancelled, and what the worker itself refuses.
Result<Trial> try_worker(const PoolContext& context, const WorkerRecord& record,
                         const std::string& prompt,
                         const std::function<bool(std::string_view)>& print);

// Hands on the log; with `follow` until the worker is gone. Works for workers already stopped:
// their logs stay. Errors: not_found.
Result<void> show_log(const PoolContext& context, const std::string& worker_id, bool follow,
                      const std::function<bool(std::string_view)>& print);

}  // namespace llorch
