#include "store/log_recovery.h"

#include "base/limits.h"

namespace llorch {

std::uint64_t LogRecovery::add_segment(std::uint64_t number, std::string_view bytes) {
  std::uint64_t at = 0;
  while (at < bytes.size()) {
    const auto decoded = decode_record(bytes.substr(at));
    if (decoded.state == DecodedRecord::State::whole) {
      add_record(number, at, decoded);
      at += decoded.size_bytes;
      continue;
    }
    if (decoded.state == DecodedRecord::State::bad_frame) {
      add_damage(number, at, decoded.size_bytes, decoded.record.job_id);
      at += decoded.size_bytes;
      continue;
    }
    // A right head says that the file ends within its record: nothing can follow.
    if (decoded.size_bytes > 0) return at;
    const std::size_t next = find_record(bytes.substr(at + 1));
    if (next == std::string_view::npos) {
      if (decoded.state == DecodedRecord::State::bad_head) {
        add_damage(number, at, bytes.size() - at, {});
      }
      return at;
    }
    add_damage(number, at, next + 1, {});
    at += next + 1;
  }
  return at;
}

void LogRecovery::add_record(std::uint64_t segment, std::uint64_t offset,
                             const DecodedRecord& decoded) {
  const JobId job_id{std::string(decoded.record.job_id)};
  LoggedJob& job = jobs_[job_id];
  // The job was forgotten and came back: what stands before belongs to nobody.
  if (decoded.record.ordinal == 0) job = LoggedJob{};
  if (job.damaged) return;
  const bool follows = decoded.record.ordinal == job.frames.size() &&
                       (job.frames.empty() || decoded.record.seq > job.frames.back().seq);
  if (!follows) return mark_damaged(job_id, job, "a frame is missing");
  suspects_.erase(job_id);
  job.frames.push_back({decoded.record.seq, segment, static_cast<std::uint32_t>(offset),
                        static_cast<std::uint32_t>(decoded.size_bytes)});
}

void LogRecovery::add_damage(std::uint64_t segment, std::uint64_t offset, std::uint64_t size_bytes,
                             std::string_view job_id) {
  report("segment " + std::to_string(segment) + ": " + std::to_string(size_bytes) +
         " damaged bytes at " + std::to_string(offset));
  if (!job_id.empty()) {
    const JobId known{std::string(job_id)};
    LoggedJob& job = jobs_[known];
    if (!job.damaged) mark_damaged(known, job, "a frame is damaged");
    return;
  }
  for (const auto& [known, job] : jobs_) {
    if (!job.damaged) suspects_.insert(known);
  }
}

void LogRecovery::finish() {
  for (const auto& job_id : suspects_) {
    LoggedJob& job = jobs_[job_id];
    if (!job.damaged) mark_damaged(job_id, job, "a damaged frame may be its last");
  }
  suspects_.clear();
}

void LogRecovery::mark_damaged(const JobId& job_id, LoggedJob& job, const char* why) {
  job.damaged = true;
  report("job " + job_id.value + ": " + why + " after " + std::to_string(job.frames.size()));
}

void LogRecovery::report(std::string line) {
  if (reports_.size() < limits::event_log_reports_max) reports_.push_back(std::move(line));
}

}  // namespace llorch
