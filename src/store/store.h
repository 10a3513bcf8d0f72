// What must outlive a process, behind an interface: the registry, jobs, decisions, keys and the
// frames of ended jobs. SqliteStore is the real one; tests/fakes/memory_store.h is for tests. One
// suite (store_test.cpp) holds for both.
// Threads: write() and read() any. Callbacks and reads run on threads of the store: post on from
// there. Lifetime: the destructor writes what waits and runs the reads posted before it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"
#include "store/rows.h"

namespace llorch {

// Errors of every write, beside its own: insufficient_storage (the disk is full), timeout (another
// program holds the database), internal (the disk fails, is read-only, the database is damaged).
// After any of them nothing of the write has happened, and the same write may be tried again.

// A row that is there already keeps its registered_at_ms, the first one.
struct UpsertWorker {
  StoredWorker worker;
};
// Unknown is success.
struct RemoveWorker {
  WorkerId worker_id;
};
// Errors: conflict (the job's id, or its tenant's idempotency key, is stored already),
// too_large (a body over limits::body_bytes_max), invalid_request (inserted as ended).
struct InsertJob {
  StoredJob job;
};
// Takes back a job that was stored and then refused: its row, its body, its key. Unknown is
// success.
struct RemoveJob {
  JobId job_id;
};
// Changes what is given and leaves the rest. A status that ends the job comes with ended_at_ms;
// the body is then deleted and overwritten, and nothing changes the row any more.
// Errors: job_not_found; conflict (it has ended already: the first end stays);
// invalid_request (an end without ended_at_ms, or the reverse).
struct UpdateJob {
  JobId job_id;
  std::optional<StoredJob::Status> status = std::nullopt;
  std::optional<std::string> worker_id = std::nullopt;
  std::optional<std::string> tokenizer_hash = std::nullopt;
  std::optional<std::uint32_t> attempt = std::nullopt;
  std::optional<std::int64_t> dispatched_at_ms = std::nullopt;
  std::optional<std::int64_t> first_token_at_ms = std::nullopt;
  std::optional<std::int64_t> ended_at_ms = std::nullopt;
  std::optional<std::int64_t> prompt_tokens = std::nullopt;
  std::optional<std::int64_t> cached_tokens = std::nullopt;
  std::optional<std::int64_t> tokens_out = std::nullopt;
  std::optional<std::string> stop_reason = std::nullopt;
  std::optional<std::string> error_code = std::nullopt;
  std::optional<std::string> error_message = std::nullopt;
};
struct AppendDecision {
  StoredDecision decision;
};
struct UpsertKey {
  StoredKey key;
};
// Keeps a job's frames (store/frames.h) beside its row; given again, the newer ones replace them.
// Given before the UpdateJob that ends the job, so that an ended job always has its frames.
// Errors: job_not_found; too_large (over limits::store_frames_bytes_max).
struct FoldFrames {
  JobId job_id;
  std::string blob;
};
// At a start: jobs of other routes than v2 lived with their connections, so the ones still open
// fail.
struct EndAbandoned {
  std::int64_t ended_at_ms = 0;
  std::string error_code;
  std::string error_message;
};
// Deletes jobs that ended before, with their frames, and older decisions, then the oldest decisions
// beyond `decisions_max`: in bounded transactions between which other writes go on. Done is called
// after the last.
struct DeleteOlder {
  std::int64_t before_ms = 0;
  std::int64_t decisions_max = std::numeric_limits<std::int64_t>::max();
};

using StoreWrite = std::variant<UpsertWorker, RemoveWorker, InsertJob, RemoveJob, UpdateJob,
                                AppendDecision, UpsertKey, FoldFrames, EndAbandoned, DeleteOlder>;
// About what a write holds in memory.
std::size_t bytes_of(const StoreWrite& write);

// Where a job stands in a list: by time, and in one millisecond by id. Holds when its row is gone.
struct JobPlace {
  std::int64_t accepted_at_ms = 0;
  JobId job_id;
  auto operator<=>(const JobPlace&) const = default;
};
inline JobPlace place_of(const StoredJob& job) {
  return {job.accepted_at_ms, job.job_id};
}

struct JobFilter {
  std::optional<StoredJob::Status> status = std::nullopt;
  std::optional<std::string> model = std::nullopt;
  std::optional<std::string> tenant = std::nullopt;
  std::optional<std::int64_t> since_ms = std::nullopt;  // accepted then or later
  std::optional<JobPlace> before = std::nullopt;        // the last one of the page before
  std::size_t limit = 100;                              // at most limits::store_list_max
};

// The newest decisions since some time: the row of the first of them, and how many there are
// without their bound.
struct DecisionSpan {
  std::int64_t first_row = 0;
  std::int64_t count = 0;
};
struct DecisionRow {
  std::int64_t row = 0;
  StoredDecision decision;
};

// One consistent view of the store. Errors of every method: timeout (limits::store_read_ms_max),
// internal (the disk fails, the database is damaged).
class StoreReader {
 public:
  virtual ~StoreReader() = default;
  virtual Result<std::vector<StoredWorker>> workers() = 0;  // by id
  virtual Result<std::vector<StoredKey>> keys() = 0;        // by id, revoked ones too
  virtual Result<std::optional<StoredJob>> job(const JobId& job_id) = 0;
  // For Idempotency-Key. Without the body.
  virtual Result<std::optional<StoredJob>> job_of_key(std::string_view tenant,
                                                      std::string_view idempotency_key) = 0;
  // Newest first, without bodies.
  virtual Result<std::vector<StoredJob>> jobs(const JobFilter& filter) = 0;
  // Of the jobs accepted since then, by tenant and model; at most limits::store_list_max rows.
  virtual Result<std::vector<StoredUsage>> usage(std::int64_t since_ms) = 0;
  // Of the jobs of keys that ended since then, in the order of time: for a restart.
  virtual Result<std::vector<StoredCharge>> charges(std::int64_t since_ms) = 0;
  // /v2 jobs that have not ended, with bodies, oldest first: for a restart.
  virtual Result<std::vector<StoredJob>> open_jobs() = 0;
  virtual Result<std::vector<StoredDecision>> decisions(const JobId& job_id) = 0;  // in order
  virtual Result<DecisionSpan> newest_decisions(std::int64_t since_ms, std::int64_t count_max) = 0;
  // From that row on, in order.
  virtual Result<std::vector<DecisionRow>> decisions_from(std::int64_t row,
                                                          std::int64_t count_max) = 0;
  // The blob of FoldFrames; nullopt where there is none.
  virtual Result<std::optional<std::string>> frames(const JobId& job_id) = 0;
};

class Store {
 public:
  using Done = std::function<void(Result<void>)>;
  using Read = std::function<void(StoreReader&)>;
  virtual ~Store() = default;

  // Takes one write; writes happen in the order given. With `done` it is committed with whatever
  // else waits, and done is called when it is on the disk or has failed. Without, it is written
  // behind within limits::store_write_behind_ms: from then on it outlives the process, and with the
  // next write that is waited for a loss of power. It is kept and tried again while the disk is
  // full or fails. Never waits for the disk.
  // Errors: queue_full (done is not called; retry), draining (the store is closing).
  virtual Result<void> write(StoreWrite write, Done done = {}) = 0;
  // Runs `task` on the reader's thread, after earlier ones; it sees every write that is done.
  // Errors: queue_full (the task is not run; retry), draining.
  virtual Result<void> read(Read task) = 0;
  // Blocks until every write given before is on the disk. Errors: those of a write.
  virtual Result<void> flush() = 0;

  // Blocks until `task`, which returns a Result, has run: for start-up and tests, never for the io
  // thread. `store.read_now([](StoreReader& reader) { return reader.open_jobs(); })`
  template <class Task>
  auto read_now(Task task) -> std::invoke_result_t<Task, StoreReader&> {
    using Answer = std::invoke_result_t<Task, StoreReader&>;
    const auto answer = std::make_shared<std::promise<Answer>>();
    auto given = answer->get_future();
    const auto posted =
        read([answer, task](StoreReader& reader) { answer->set_value(task(reader)); });
    if (!posted) return fail(posted.error());
    return given.get();
  }
};

}  // namespace llorch
