// What the segments of an event log still hold after a crash: whose frames are where, and whose are
// damaged. Pure; fuzzed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/ids.h"
#include "store/log_record.h"

namespace llorch {

// Where one frame's record is.
struct FrameAt {
  std::uint64_t seq = 0;
  std::uint64_t segment = 0;
  std::uint32_t offset = 0;  // a segment ends long before 4 GiB
  std::uint32_t size_bytes = 0;
};

struct LoggedJob {
  std::vector<FrameAt> frames;  // seq grows
  bool damaged = false;         // frames that were sent may be missing after the last one here
};

class LogRecovery {
 public:
  // Takes the segments in the order they were written. Gives how many bytes of this one to keep:
  // what follows is a record that was never written whole.
  std::uint64_t add_segment(std::uint64_t number, std::string_view bytes);
  // After the last segment.
  void finish();

  std::unordered_map<JobId, LoggedJob>& jobs() { return jobs_; }
  // One line for each damaged place, at most limits::event_log_reports_max.
  const std::vector<std::string>& reports() const { return reports_; }

 private:
  void add_record(std::uint64_t segment, std::uint64_t offset, const DecodedRecord& decoded);
  void add_damage(std::uint64_t segment, std::uint64_t offset, std::uint64_t size_bytes,
                  std::string_view job_id);
  void mark_damaged(const JobId& job_id, LoggedJob& job, const char* why);
  void report(std::string line);

  std::unordered_map<JobId, LoggedJob> jobs_;
  // Jobs whose frame may be the one in a damaged place that tells no name. A later frame with the
  // right ordinal shows that it was another's.
  std::unordered_set<JobId> suspects_;
  std::vector<std::string> reports_;
};

}  // namespace llorch
