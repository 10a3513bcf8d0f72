#include "store/event_log.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <utility>

#include "base/log.h"
#include "store/log_record.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view name_start = "events-";
constexpr std::string_view name_end = ".log";
constexpr std::size_t number_digits = 16;
// One turn of the loop may go past the size at which the next segment begins.
constexpr std::size_t segment_bytes_max =
    limits::event_log_segment_bytes + limits::event_log_pending_bytes_max;

// "events-000000000000002a.log" is 42; nullopt: another file.
std::optional<std::uint64_t> number_of(std::string_view name) {
  if (name.size() != name_start.size() + number_digits + name_end.size()) return std::nullopt;
  if (!name.starts_with(name_start) || !name.ends_with(name_end)) return std::nullopt;
  const auto digits = name.substr(name_start.size(), number_digits);
  std::uint64_t number = 0;
  const auto* const end = digits.data() + digits.size();
  const auto [stop, status] = std::from_chars(digits.data(), end, number, 16);
  if (status != std::errc{} || stop != end || number == 0) return std::nullopt;
  return number;
}

// Loops over short writes: most often there is one.
Result<void> write_all(LogFile& file, std::string_view bytes) {
  while (!bytes.empty()) {
    const auto taken = file.write(bytes);
    if (!taken) return fail(taken.error());
    bytes.remove_prefix(*taken);
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<EventLog>> EventLog::open(const fs::path& folder, LogFiles& files) {
  std::unique_ptr<EventLog> log(new EventLog(folder, files));
  if (const auto done = log->recover(); !done) return fail(done.error());
  return log;
}

Result<void> EventLog::recover() {
  if (const auto made = files_.make_folder(folder_); !made) return made;
  const auto names = files_.list(folder_);
  if (!names) return fail(names.error());
  LogRecovery recovery;
  for (const auto& name : *names) {  // sorted, and so are their numbers
    const auto number = number_of(name);
    if (!number) continue;
    const auto done = recover_segment(*number, recovery);
    if (!done) return done;
    next_segment_ = *number + 1;
  }
  recovery.finish();
  take_over(recovery);
  return {};
}

Result<void> EventLog::recover_segment(std::uint64_t number, LogRecovery& recovery) {
  auto file = files_.open(path_of(number));
  if (!file) return fail(file.error());
  const auto size_bytes = (*file)->size_bytes();
  if (!size_bytes) return fail(size_bytes.error());
  if (*size_bytes > segment_bytes_max) {
    return fail(Code::internal, path_of(number).string() + " is larger than any event log",
                "move it away");
  }
  std::string bytes(*size_bytes, '\0');
  const auto got = (*file)->read_at(0, bytes);
  if (!got) return fail(got.error());
  bytes.resize(*got);
  const std::uint64_t kept = recovery.add_segment(number, bytes);
  if (kept < *size_bytes) {
    recovered_.cut_bytes += *size_bytes - kept;
    const auto cut = (*file)->truncate(kept);
    if (!cut) return cut;
  }
  segments_[number] = {.file = std::move(*file), .size_bytes = kept};
  return {};
}

void EventLog::take_over(LogRecovery& recovery) {
  jobs_ = std::move(recovery.jobs());
  recovered_.reports = recovery.reports();
  for (const auto& [job_id, job] : jobs_) {
    RecoveredJob told{.job_id = job_id, .frames = job.frames.size(), .damaged = job.damaged};
    std::uint64_t counted = 0;
    for (const auto& frame : job.frames) {
      told.last_seq = frame.seq;
      if (frame.segment != counted) ++segments_[frame.segment].jobs;
      counted = frame.segment;
    }
    recovered_.jobs.push_back(std::move(told));
  }
  std::ranges::sort(recovered_.jobs, {}, &RecoveredJob::job_id);
  if (!segments_.empty()) current_ = segments_.rbegin()->first;
  std::vector<std::uint64_t> empty;
  for (const auto& [number, segment] : segments_) {
    if (segment.jobs == 0) empty.push_back(number);
  }
  for (const auto number : empty) drop_segment(number);
}

fs::path EventLog::path_of(std::uint64_t number) const {
  char digits[number_digits + 1];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(number));
  return folder_ / (std::string(name_start) + digits + std::string(name_end));
}

Result<void> EventLog::append(const JobId& job_id, std::uint64_t seq, std::string_view frame) {
  if (frame.size() > limits::event_log_frame_bytes_max) {
    return fail(Code::too_large, "job " + job_id.value + ": a frame is too large to be logged");
  }
  const std::size_t size_bytes = record_head_bytes + job_id.value.size() + frame.size();
  if (pending_bytes_.size() + size_bytes > limits::event_log_pending_bytes_max) {
    return fail(Code::queue_full, "too many frames wait to be logged");
  }
  const auto known = jobs_.find(job_id);
  if (known != jobs_.end() && known->second.damaged) {
    return fail(Code::internal, "job " + job_id.value + ": its log is damaged");
  }
  Waiting waiting;
  if (known != jobs_.end() && !known->second.frames.empty()) {
    waiting.next_ordinal = static_cast<std::uint32_t>(known->second.frames.size());
    waiting.last_seq = known->second.frames.back().seq;
  }
  if (const auto found = waiting_.find(job_id); found != waiting_.end()) waiting = found->second;
  if (waiting.last_seq && seq <= *waiting.last_seq) {
    return fail(Code::invalid_request, "job " + job_id.value + ": frame " + std::to_string(seq) +
                                           " comes after frame " +
                                           std::to_string(*waiting.last_seq));
  }
  append_record(
      pending_bytes_,
      {.job_id = job_id.value, .seq = seq, .ordinal = waiting.next_ordinal, .frame = frame});
  pending_.push_back({job_id, seq, size_bytes});
  waiting_[job_id] = {waiting.next_ordinal + 1, seq};
  return {};
}

Result<void> EventLog::flush() {
  if (pending_.empty()) return {};
  const auto segment = segment_for(pending_bytes_.size());
  if (!segment) return fail(segment.error());
  Segment& into = (*segment)->second;
  const auto written = write_all(*into.file, pending_bytes_);
  if (!written) {
    // Where even that fails the rest of this segment is garbage, which the next start will cut.
    if (!into.file->truncate(into.size_bytes)) abandon((*segment)->first);
    return written;
  }
  note_written(*segment);
  return {};
}

void EventLog::abandon(std::uint64_t number) {
  current_.reset();
  if (segments_.at(number).jobs == 0) drop_segment(number);
}

// The segment that has room for so many bytes; a new one where the current has not.
Result<EventLog::Segments::iterator> EventLog::segment_for(std::size_t bytes) {
  if (current_) {
    const auto current = segments_.find(*current_);
    const std::uint64_t used = current->second.size_bytes;
    if (used == 0 || used + bytes <= limits::event_log_segment_bytes) return current;
  }
  if (segments_.size() >= limits::event_log_segments_max) {
    return fail(Code::insufficient_storage,
                "the event log has " + std::to_string(segments_.size()) + " full files",
                "jobs that do not end keep them: cancel some");
  }
  const std::uint64_t number = next_segment_;
  auto file = files_.create(path_of(number));
  if (!file) return fail(file.error());
  const auto before = current_;
  next_segment_ = number + 1;
  current_ = number;
  const auto made = segments_.emplace(number, Segment{.file = std::move(*file)}).first;
  if (before && segments_.at(*before).jobs == 0) drop_segment(*before);
  return made;
}

void EventLog::note_written(Segments::iterator segment) {
  Segment& into = segment->second;
  for (const auto& pending : pending_) {
    auto& frames = jobs_[pending.job_id].frames;
    if (frames.empty() || frames.back().segment != segment->first) ++into.jobs;
    frames.push_back({pending.seq, segment->first, static_cast<std::uint32_t>(into.size_bytes),
                      static_cast<std::uint32_t>(pending.size_bytes)});
    into.size_bytes += pending.size_bytes;
  }
  pending_bytes_.clear();
  pending_.clear();
  waiting_.clear();
}

Result<std::vector<LoggedFrame>> EventLog::read(const JobId& job_id,
                                                std::optional<std::uint64_t> after,
                                                std::size_t bytes_max) {
  std::vector<LoggedFrame> frames;
  const auto job = jobs_.find(job_id);
  if (job == jobs_.end()) return frames;
  const auto& known = job->second.frames;
  auto next = after ? std::ranges::upper_bound(known, *after, {}, &FrameAt::seq) : known.begin();
  std::size_t bytes = 0;
  for (; next != known.end(); ++next) {
    bytes += next->size_bytes;
    if (!frames.empty() && bytes > bytes_max) break;
    auto frame = read_frame(job_id, *next);
    if (!frame) return fail(frame.error());
    frames.push_back(std::move(*frame));
  }
  return frames;
}

Result<LoggedFrame> EventLog::read_frame(const JobId& job_id, const FrameAt& at) {
  std::string bytes(at.size_bytes, '\0');
  const auto got = segments_.at(at.segment).file->read_at(at.offset, bytes);
  if (!got) return fail(got.error());
  const auto decoded = decode_record(std::string_view(bytes).substr(0, *got));
  const bool right = decoded.state == DecodedRecord::State::whole &&
                     decoded.record.job_id == job_id.value && decoded.record.seq == at.seq;
  if (!right) {
    return fail(Code::internal, "job " + job_id.value + ": frame " + std::to_string(at.seq) +
                                    " changed on the disk");
  }
  return LoggedFrame{at.seq, std::string(decoded.record.frame)};
}

Result<std::string> EventLog::folded(const JobId& job_id) {
  std::string blob;
  const auto job = jobs_.find(job_id);
  if (job == jobs_.end()) return blob;
  for (const auto& at : job->second.frames) {
    const auto frame = read_frame(job_id, at);
    if (!frame) return fail(frame.error());
    append_frame(blob, frame->seq, frame->bytes);
    if (blob.size() > limits::store_frames_bytes_max) {
      return fail(Code::too_large, "job " + job_id.value + ": its frames are too large to be kept");
    }
  }
  return blob;
}

void EventLog::forget(const JobId& job_id) {
  drop_pending(job_id);
  const auto job = jobs_.find(job_id);
  if (job == jobs_.end()) return;
  std::vector<std::uint64_t> empty;
  std::uint64_t counted = 0;
  for (const auto& frame : job->second.frames) {
    if (frame.segment == counted) continue;
    counted = frame.segment;
    if (--segments_.at(counted).jobs == 0) empty.push_back(counted);
  }
  jobs_.erase(job);
  for (const auto number : empty) drop_segment(number);
}

// The current one is emptied and goes on, so that an idle log holds no answer.
void EventLog::drop_segment(std::uint64_t number) {
  const auto segment = segments_.find(number);
  const bool current = current_ == number;
  const auto done = current ? segment->second.file->truncate(0) : files_.remove(path_of(number));
  if (!done) {
    log_event(LogLevel::warn, "store", "event_log_not_freed", {{"message", done.error().message}});
  }
  if (!current) {
    segments_.erase(segment);
  } else if (done) {
    segment->second.size_bytes = 0;
  }
}

void EventLog::drop_pending(const JobId& job_id) {
  if (waiting_.erase(job_id) == 0) return;
  std::string kept_bytes;
  std::vector<Pending> kept;
  std::size_t at = 0;
  for (auto& pending : pending_) {
    const std::size_t start = std::exchange(at, at + pending.size_bytes);
    if (pending.job_id == job_id) continue;
    kept_bytes.append(pending_bytes_, start, pending.size_bytes);
    kept.push_back(std::move(pending));
  }
  pending_bytes_ = std::move(kept_bytes);
  pending_ = std::move(kept);
}

std::uint64_t EventLog::size_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [number, segment] : segments_) bytes += segment.size_bytes;
  return bytes;
}

}  // namespace llorch
