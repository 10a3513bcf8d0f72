// GET /v2/tasks/{id}/events: a task's frames, from the beginning or after the last one its reader
// has had, live or long after the end.
#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "base/limits.h"
#include "orchestrator/routes.h"
#include "orchestrator/texts.h"
#include "protocol/sse.h"

namespace llorch {
namespace {

using std::chrono::milliseconds;

// "7" or "7:123,9"; nullopt when it is no id of ours.
std::optional<std::int64_t> sequence_of(std::string_view text) {
  std::int64_t seq = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, status] = std::from_chars(text.data(), end, seq);
  if (status != std::errc{} || seq < 0 || (stop != end && *stop != ':')) return std::nullopt;
  return seq;
}

std::optional<std::string_view> query_after(std::string_view query) {
  constexpr std::string_view name = "after=";
  while (!query.empty()) {
    const auto field = query.substr(0, query.find('&'));
    if (field.starts_with(name)) return field.substr(name.size());
    query.remove_prefix(std::min(field.size() + 1, query.size()));
  }
  return std::nullopt;
}

// The last sequence number the reader has had; -1: none.
Result<std::int64_t> last_read(const net::HttpRequest& request) {
  auto given = request.headers.find("Last-Event-ID");
  if (!given || given->empty()) given = query_after(request.query);
  if (!given || given->empty()) return -1;
  if (const auto seq = sequence_of(*given)) return *seq;
  return fail_field({.field = "Last-Event-ID",
                     .constraint = "an id of this stream",
                     .message = "Last-Event-ID: must be an id of this stream, such as 7"});
}

// What the reader has had and we have not: frames that a power cut took from the log. What is
// computed anew need not go on from them, so no retry helps.
std::optional<Error> lost_events(const JobRecord& job, std::int64_t seq) {
  const auto last = job.frames.empty() ? 0 : job.frames.back().seq;
  if (seq <= last) return std::nullopt;
  return Error{.code = Code::conflict,
               .message = "event " + std::to_string(seq) +
                          " of this task is not known, the last is " + std::to_string(last),
               .next = "read it again from its beginning, or send the task again"};
}

// Counts one reader of a task, for the grace of those whose readers have all left.
class Reading {
 public:
  Reading(JobRecord& job, const Clock& clock) : job_(job), clock_(clock) {
    ++job_.readers;
    job_.alone_since.reset();
  }
  ~Reading() {
    if (--job_.readers == 0) job_.alone_since = clock_.now();
  }
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;

 private:
  JobRecord& job_;
  const Clock& clock_;
};

// What the reader has not had: the kept frames after `seq`, which moves on, and live figures.
std::string unread(const Orchestrator& service, const JobRecord& job, std::int64_t& seq,
                   std::uint64_t& metrics_seen) {
  std::string bytes;
  if (seq < 0) {
    bytes = queued_frame(service, job);
    seq = 0;
  }
  const auto from = std::upper_bound(
      job.frames.begin(), job.frames.end(), seq,
      [](std::int64_t after, const KeptFrame& frame) { return after < frame.seq; });
  for (auto frame = from; frame != job.frames.end() && frame->seq <= job.shown_seq; ++frame) {
    bytes += frame->bytes;
    seq = frame->seq;
    if (bytes.size() > limits::unrelayed_bytes_max) return bytes;  // the rest in the next turn
  }
  if (std::exchange(metrics_seen, job.metrics_count) != job.metrics_count && !job.closed) {
    bytes += job.metrics;
  }
  return bytes;
}

}  // namespace

Task<void> task_events_route(Call& call) {
  const JobId id{call.id};
  const auto job = co_await own_job(call, id);
  if (!job || job->kind != JobKind::task) {
    const Error error{.code = Code::job_not_found, .message = "no task " + call.id};
    co_return co_await reply_error(call, error);
  }
  call.job_id = job->id.value;
  auto seq = last_read(call.exchange.request());
  if (!seq) co_return co_await reply_error(call, seq.error());
  if (const auto lost = lost_events(*job, *seq)) co_return co_await reply_error(call, *lost);
  auto headers = reply_headers("text/event-stream", call.correlation_id, call.job_id);
  headers.add("Cache-Control", "no-cache");
  headers.add("X-Accel-Buffering", "no");
  headers = with_shared(call, std::move(headers));
  const Reading reading(*job, call.service.clock());
  const auto begun = co_await call.exchange.begin_stream(200, std::move(headers));
  if (!begun) co_return;
  call.exchange.on_disconnect([job] { job->bell.ring(); });
  auto metrics_seen = job->metrics_count;
  while (!call.exchange.disconnected()) {
    const auto bytes = unread(call.service, *job, *seq, metrics_seen);
    if (!bytes.empty()) {
      const auto sent = co_await call.exchange.write(bytes);
      if (!sent) co_return;
      continue;
    }
    if (job->closed && job->all_shown()) break;
    // It begins after our restart; its reader comes back with the last id it has had.
    const bool waits = job->status == JobStatus::queued && !job->started;
    if (call.service.draining() && waits) break;
    const bool rung = co_await job->bell.wait_for(milliseconds(limits::sse_comment_ms));
    if (rung) continue;
    auto comment = queued_comment(call.service, *job);
    if (comment.empty()) comment = sse_comment;
    const auto sent = co_await call.exchange.write(comment);
    if (!sent) co_return;
  }
  const auto ended = co_await call.exchange.end_stream();
  static_cast<void>(ended);
}

}  // namespace llorch
