// Recorded decisions asked again of a candidate script, on a thread of its own: no request waits
// for it, and nothing it says comes to pass.
// Threads: the io thread; the work is on another. Lifetime: the store outlives it; the destructor
// stops what runs and waits for it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "base/result.h"
#include "net/asio.h"
#include "policy/built_in.h"
#include "policy/replay.h"
#include "policy/rhai_script.h"
#include "store/store.h"

namespace llorch {

struct ReplayRequest {
  std::string script;
  std::int64_t since_ms = 0;                      // since 1970
  std::int64_t decisions_max = 0;                 // the newest
  PlacementMode placement = PlacementMode::cost;  // decides where the script leaves the choice
  ScriptLimits limits = {};
};

struct ReplayReport {
  ReplaySummary summary;
  std::int64_t recorded = 0;        // decisions made in that time
  std::int64_t unreadable = 0;      // of another llorch
  std::uint64_t script_errors = 0;  // the built-in policy decided then
  bool complete = true;             // false: limits::replay_ms passed, or nobody waits any more
  double took_ms = 0;
};

// Blocks. Bounded by limits::replay_ms and request.decisions_max; `stop` is asked between pages.
// Errors: invalid_request (the script), those of StoreReader.
Result<ReplayReport> replay_decisions(Store& store, const ReplayRequest& request,
                                      const std::function<bool()>& stop);
// {"recorded":…,"decisions":…,"same":…,"workers":[…],"examples":[…],…}
std::string replay_text(const ReplayReport& report, const ReplayRequest& request);

class PolicyReplay {
 public:
  PolicyReplay(Executor executor, Store& store) : executor_(std::move(executor)), store_(store) {}
  ~PolicyReplay();
  PolicyReplay(const PolicyReplay&) = delete;
  PolicyReplay& operator=(const PolicyReplay&) = delete;

  // Errors: conflict (one is running; retry), those of replay_decisions().
  Task<Result<ReplayReport>> run(ReplayRequest request);
  // The one that runs ends soon, with what it has.
  void abandon() { stop_ = true; }

 private:
  Executor executor_;
  Store& store_;
  std::atomic<bool> stop_ = false;
  bool running_ = false;
  std::thread thread_;
};

}  // namespace llorch
