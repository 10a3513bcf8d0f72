// What the orchestrator writes down so that a restart loses nothing: workers, tasks, the frames of
// running tasks, decisions. Jobs of /v1 live with their connection and wait for no disk: of them a
// row without the request is written behind. Threads: the io thread; the store answers through
// posts. Lifetime: store and log outlive it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/clock.h"
#include "net/asio.h"
#include "orchestrator/core/worker.h"
#include "orchestrator/job_record.h"
#include "store/event_log.h"
#include "store/store.h"

namespace llorch {

class Journal {
 public:
  Journal(Executor executor, const Clock& clock, Store& store, EventLog& log)
      : executor_(std::move(executor)), clock_(clock), store_(store), log_(log) {}

  // Resolves once the task is on the disk; only then is it accepted. `body` as the client sent it.
  // Errors: conflict (an idempotency key of another body), those of a write.
  Task<Result<void>> accept(const JobRecord& job, std::string body, std::string idempotency_key);
  // The task that this key of this tenant began; nullopt: none. Errors: conflict (other body).
  Task<Result<std::optional<JobId>>> job_of_key(std::string tenant, std::string key,
                                                std::string body_sha256);
  // Takes back a task that was accepted here and then refused. Resolves once it has left no row and
  // its key is free.
  Task<void> take_back(JobId id);
  // A job of /v1 as it is now. Written behind.
  void begun(const JobRecord& job);
  // Where a job has got to. Written behind.
  void changed(const JobRecord& job, std::optional<std::string> tokenizer_hash);
  // One frame, with the worker's id line; it may be sent after flush().
  void keep(const JobId& id, std::int64_t seq, std::string_view frame);
  void flush();
  // Flushes once all that has arrived by now has been taken in, and shows the job's readers its
  // frames then: one write(2) for the frames of many jobs.
  void show(std::shared_ptr<JobRecord> job);
  // Its last frame has been kept. An end that cannot be written is kept, and tried again; that of a
  // job of /v1 is written behind.
  void ended(std::shared_ptr<JobRecord> job);
  // Call often: what could not be written when its time came.
  void try_again();
  void decided(const JobId& id, std::uint32_t attempt, std::string json);
  // `owner` as WorkerOwners knows it.
  void worker_changed(const WorkerState& worker, const std::optional<std::string>& owner);
  // The same, and resolves once it is on the disk. Errors: those of a write.
  Task<Result<void>> worker_kept(const WorkerState& worker, std::optional<std::string> owner);
  void worker_gone(const std::string& id);
  // Resolves once the key is on the disk. Errors: those of a write.
  Task<Result<void>> key_changed(StoredKey key);
  // What has ended more than limits::jobs_kept_ms ago, and decisions beyond limits::decisions_max.
  void forget_old();

  // A job that is stored, with its frames where it is a task that has ended. Null: unknown.
  Task<std::shared_ptr<JobRecord>> recall(JobId id);
  // The same without its frames.
  Task<std::shared_ptr<JobRecord>> recall_row(JobId id);
  // Errors: those of StoreReader.
  Task<Result<std::vector<StoredJob>>> list(const JobFilter& filter);
  // JSON of each, in order.
  Task<std::vector<std::string>> decisions(JobId id);
  // For threads of their own that read much, a page at a time.
  Store& store() { return store_; }
  // Errors: those of a read.
  Task<Result<std::vector<StoredUsage>>> usage(std::int64_t since_ms);

 private:
  Task<Result<void>> commit(StoreWrite write);
  void behind(StoreWrite write);

  Executor executor_;
  const Clock& clock_;
  Store& store_;
  EventLog& log_;
  SteadyTime log_failed_at_;
  bool log_fails_ = false;              // said once
  std::unordered_set<JobId> unlogged_;  // a frame of theirs could not be kept: none is, after it
  void show_all();

  std::vector<std::shared_ptr<JobRecord>> unwritten_ends_;
  std::vector<std::shared_ptr<JobRecord>> to_show_;
  SteadyTime tried_at_;
};

std::string sha256_of(std::string_view text);

// At a start, before the first request; blocks. What was registered and what had not ended.
struct Restored {
  struct Worker {
    Registration registration;
    bool draining = false;             // an administrator has said so
    std::optional<std::string> owner;  // for WorkerOwners
  };
  std::vector<Worker> workers;
  std::vector<StoredKey> keys;
  std::vector<StoredCharge> charges;  // of what ended lately
  struct Task {
    std::shared_ptr<JobRecord> job;
    JobSpec spec;
    std::optional<JobEnd> last = {};  // its last frame is there, but the end was never written
    bool damaged = false;             // sent frames may be missing, or it cannot be read any more
  };
  std::vector<Task> tasks;
};
Result<Restored> restore(const Executor& executor, const Clock& clock, Store& store, EventLog& log,
                         Millis job_timeout_ms);
// A stored row as a record without frames.
std::shared_ptr<JobRecord> record_of(const Executor& executor, const StoredJob& stored);
// A frame as it was kept, put behind the others: for readers with the id they see.
void take_frame(JobRecord& job, std::int64_t seq, std::string_view frame);

}  // namespace llorch
