// The frames of running /v2 jobs, written before they are sent: one write(2) a turn of the loop,
// no fsync, so they survive kill -9. Segment files are shared by all jobs; one goes when the last
// of its jobs is forgotten. A frame's bytes mean nothing here.
// Threads: one, the io thread: it writes to the page cache and waits for no disk.
// Lifetime: `files` outlives it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/limits.h"
#include "base/result.h"
#include "store/frames.h"
#include "store/log_files.h"
#include "store/log_recovery.h"

namespace llorch {

class EventLog {
 public:
  struct RecoveredJob {
    JobId job_id;
    std::size_t frames = 0;
    std::optional<std::uint64_t> last_seq;
    bool damaged = false;  // frames that were sent may be missing: end the job, take no more
  };
  struct Recovery {
    std::vector<RecoveredJob> jobs;  // by id; those that are not open any more: forget() them
    std::uint64_t cut_bytes = 0;     // of records that were never written whole
    std::vector<std::string> reports;
  };

  // Makes the folder (0700) when absent and reads what it holds.
  // Errors: forbidden, insufficient_storage, internal (the disk fails).
  static Result<std::unique_ptr<EventLog>> open(const std::filesystem::path& folder,
                                                LogFiles& files);
  const Recovery& recovered() const { return recovered_; }

  // Takes a frame in for the next flush(). Shape: seq above the job's last one.
  // Errors: invalid_request (seq), too_large (limits::event_log_frame_bytes_max), queue_full (too
  // much waits because flush() fails), internal (the job's log is damaged).
  Result<void> append(const JobId& job_id, std::uint64_t seq, std::string_view frame);
  // Writes what was taken in; only then may it be sent. On an error nothing of it is in the file,
  // and the next flush() tries all of it again.
  // Errors: insufficient_storage (also past limits::event_log_segments_max), forbidden, internal.
  Result<void> flush();
  bool has_pending() const { return !pending_.empty(); }

  // Written frames after `after` (nullopt: from the first), at most about `bytes_max` but at least
  // one where there is one; empty: no more. An unknown job has none.
  // Errors: internal (the disk fails, or the bytes changed since they were written).
  Result<std::vector<LoggedFrame>> read(const JobId& job_id, std::optional<std::uint64_t> after,
                                        std::size_t bytes_max = limits::event_log_read_bytes_max);
  // All written frames of a job as the blob for FoldFrames. Errors: those of read(); too_large
  // (limits::store_frames_bytes_max).
  Result<std::string> folded(const JobId& job_id);
  // Once the fold is committed, or the job needs no frames: drops pending ones too. Idempotent.
  void forget(const JobId& job_id);

  std::size_t jobs() const { return jobs_.size(); }
  std::size_t segments() const { return segments_.size(); }
  std::uint64_t size_bytes() const;  // of all segments

 private:
  struct Segment {
    std::unique_ptr<LogFile> file;
    std::uint64_t size_bytes = 0;
    std::size_t jobs = 0;  // that have frames in it
  };
  struct Pending {
    JobId job_id;
    std::uint64_t seq = 0;
    std::size_t size_bytes = 0;
  };
  // Where a job's log stands once its pending frames are written.
  struct Waiting {
    std::uint32_t next_ordinal = 0;
    std::optional<std::uint64_t> last_seq;
  };
  using Segments = std::map<std::uint64_t, Segment>;

  EventLog(std::filesystem::path folder, LogFiles& files)
      : folder_(std::move(folder)), files_(files) {}
  Result<void> recover();
  Result<void> recover_segment(std::uint64_t number, LogRecovery& recovery);
  void take_over(LogRecovery& recovery);
  std::filesystem::path path_of(std::uint64_t number) const;
  Result<Segments::iterator> segment_for(std::size_t bytes);
  void abandon(std::uint64_t number);
  void note_written(Segments::iterator segment);
  void drop_segment(std::uint64_t number);
  void drop_pending(const JobId& job_id);
  Result<LoggedFrame> read_frame(const JobId& job_id, const FrameAt& at);

  std::filesystem::path folder_;
  LogFiles& files_;
  Segments segments_;                     // by number, the newest last
  std::optional<std::uint64_t> current_;  // the one that is written to
  std::uint64_t next_segment_ = 1;
  std::unordered_map<JobId, LoggedJob> jobs_;
  // Records as bytes, and whose they are, in the same order.
  std::string pending_bytes_;
  std::vector<Pending> pending_;
  std::unordered_map<JobId, Waiting> waiting_;  // of jobs with pending frames
  Recovery recovered_;
};

}  // namespace llorch
