// The live jobs of a worker: which may start, what a cancel means, what is remembered afterwards.
// Threads: the io thread. Lifetime: outlives its seats.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "engine/outbox.h"
#include "worker/finish_rate.h"

namespace llorch {

// Why a run was ended early; decides how its stream ends.
enum class CancelReason { none, client, left, replaced, shutdown };

// One attempt at one job, from its admission until the engine has ended it.
struct LiveRun {
  JobId id;
  std::uint32_t attempt = 0;
  std::string correlation_id;
  std::shared_ptr<Outbox> outbox;
  SteadyTime accepted_at;
  CancelReason cancelled = CancelReason::none;
  bool finished = false;
};

class JobTable {
 public:
  // Tells the engine to end a run; called once a run.
  using CancelRun = std::function<void(const LiveRun&)>;

  // Holds the place of one run; gives it back, and cancels what still runs, when destroyed.
  class Seat {
   public:
    Seat(JobTable& table, std::shared_ptr<LiveRun> run) : table_(&table), run_(std::move(run)) {}
    Seat(Seat&& other) noexcept = default;
    Seat& operator=(Seat&&) = delete;
    ~Seat();
    LiveRun& run() const { return *run_; }

   private:
    JobTable* table_;
    std::shared_ptr<LiveRun> run_;  // empty once moved from
  };

  JobTable(const Clock& clock, CancelRun cancel_run);

  // `live_max` counts running and queued jobs; runs already cancelled do not count.
  void set_capacity(std::size_t live_max) { live_max_ = live_max; }

  // Takes a job in; a live run of the same id with a lower attempt is cancelled and replaced.
  // Errors: conflict (live with this attempt or a higher one), queue_full (with retry_after_ms).
  Result<Seat> admit(JobId id, std::uint32_t attempt, std::string correlation_id);

  // A client's cancel, good for a live job and for one cancelled in the last five minutes.
  // Errors: job_not_found (unknown, or finished by itself).
  Result<void> cancel(const JobId& id);
  // The engine has ended the run by itself: no cancel finds it any more, though its last bytes may
  // still be on their way to a slow reader.
  void finished(LiveRun& run) { run.finished = true; }
  // Idempotent; the first reason stays.
  void cancel(LiveRun& run, CancelReason reason);
  void cancel_all(CancelReason reason);

  std::size_t live() const { return live_.size(); }
  // Called whenever the last live run has ended.
  void on_empty(std::function<void()> empty) { empty_ = std::move(empty); }

 private:
  void release(LiveRun& run);
  void remember_cancelled(const JobId& id);
  void forget_expired();

  const Clock& clock_;
  CancelRun cancel_run_;
  std::size_t live_max_ = 0;
  std::size_t active_ = 0;  // live and not cancelled
  std::unordered_set<LiveRun*> live_;
  std::unordered_map<JobId, LiveRun*> current_;  // the newest attempt of each live id
  std::unordered_map<JobId, SteadyTime> cancelled_;
  std::deque<std::pair<SteadyTime, JobId>> cancelled_order_;  // oldest first
  FinishRate finish_rate_;
  std::function<void()> empty_;
};

}  // namespace llorch
