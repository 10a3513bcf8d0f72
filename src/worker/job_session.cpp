#include "worker/job_session.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "base/log.h"
#include "net/event.h"
#include "protocol/prefix_hash.h"
#include "worker/cadence.h"
#include "worker/frame_hold.h"
#include "worker/waker.h"

namespace llorch {
namespace {

std::size_t prompt_bytes(const PromptSource& prompt) {
  if (const auto* text = std::get_if<std::string>(&prompt)) return text->size();
  if (const auto* tokens = std::get_if<std::vector<Token>>(&prompt)) {
    return tokens->size() * sizeof(Token);
  }
  std::size_t bytes = 0;
  for (const auto& message : std::get<ChatPrompt>(prompt).messages) bytes += message.content.size();
  return bytes;
}

// A wish: whoever does not know it sends each frame at once, and what is no number is none.
std::chrono::milliseconds asked_hold(const net::Headers& headers) {
  const auto text = headers.find("X-Hold-Ms").value_or("");
  std::int64_t ms = 0;
  std::from_chars(text.data(), text.data() + text.size(), ms);
  return std::chrono::milliseconds(std::clamp<std::int64_t>(ms, 0, limits::frames_hold_ms_max));
}

class JobSession {
 public:
  JobSession(Call& call, JobTable::Seat seat, std::unique_ptr<JobEncoder> encoder)
      : call_(call),
        service_(call.service),
        seat_(std::move(seat)),
        encoder_(std::move(encoder)),
        wake_(std::make_shared<net::Event>(call.exchange.executor())),
        cadence_(service_.clock().now(), encoder_->takes_metrics()),
        hold_(asked_hold(call.exchange.request().headers)) {}

  Task<void> run(Engine& engine, JobRequest job);

 private:
  LiveRun& seat_run() const { return seat_.run(); }
  void take_events(Outbox::Ready next);
  void take(const Started& event);
  void take(const PrefillProgress& event);
  void take(const TokenOut& event);
  void take(const Ended& event);
  void take(const Failed& event);
  void fail_with(Error error);
  void speak_if_due();
  Task<void> sleep();
  bool has_to_send() const;
  Task<Result<void>> begin();
  Task<void> send();
  Task<void> send_end();
  void leave();
  void log_end();

  Call& call_;
  Service& service_;
  JobTable::Seat seat_;
  std::unique_ptr<JobEncoder> encoder_;
  const std::shared_ptr<net::Event> wake_;  // the outbox has events, or the client left
  Cadence cadence_;
  FrameHold hold_;
  MetricsEvent progress_{.phase = MetricsEvent::Phase::queued};
  std::vector<std::uint64_t> cache_chain_;
  std::size_t prompt_bytes_ = 0;
  std::vector<JobEvent> events_;  // taken, and being framed
  std::string out_;               // framed, not yet written
  bool headers_ = false;          // of a stream: written
  bool gone_ = false;             // nobody reads any more
  bool over_ = false;             // Ended or Failed has come
  std::optional<Error> error_;
  std::int64_t tokens_out_ = 0;
};

Task<void> JobSession::run(Engine& engine, JobRequest job) {
  const auto& outbox = seat_run().outbox;
  outbox->on_ready(waker(call_.exchange.executor(), wake_));
  call_.exchange.on_disconnect([wake = wake_] { wake->ring(); });
  prompt_bytes_ = prompt_bytes(job.prompt);
  if (!service_.options().orchestrator_url.empty() && !job.deterministic) {
    cache_chain_ = prefix_chain(job.cache_scope, service_.options().model_id, job.prompt);
  }
  engine.submit(std::move(job), outbox);
  while (!over_) {
    const bool late = hold_.fast();
    take_events(late ? Outbox::Ready::late : Outbox::Ready::at_once);
    if (!gone_ && call_.exchange.disconnected()) leave();
    if (over_) break;  // what is left goes with the end
    speak_if_due();
    const bool sends = has_to_send();
    if (sends) co_await send();
    if (hold_.fast()) {
      static_cast<void>(co_await wake_->wait_for(hold_.most()));
    } else if (!sends && !late) {  // else look again: a wake-up may have come meanwhile
      co_await sleep();
    }
  }
  // Where there are no bytes yet, an error has a status of its own.
  if (!headers_ && !out_.empty() && has_to_send()) co_await send();
  co_await send_end();
  log_end();
}

void JobSession::take_events(Outbox::Ready next) {
  seat_run().outbox->take(events_, next);
  std::size_t tokens = 0;
  for (const auto& event : events_) {
    if (std::holds_alternative<TokenOut>(event)) ++tokens;
    std::visit([this](const auto& kind) { take(kind); }, event);
  }
  hold_.took(tokens, service_.clock().now());
}

void JobSession::take(const Started& event) {
  progress_.phase = MetricsEvent::Phase::prefill;
  progress_.prompt_total = event.prompt_tokens;
  progress_.prompt_done = event.cached_tokens;
  encoder_->started(event, service_.clock().wall(), out_);
}

void JobSession::take(const PrefillProgress& event) {
  progress_.prompt_done = event.prompt_done;
  progress_.prompt_total = event.prompt_total;
  progress_.engine_step = event.engine_step;
  cadence_.metrics_news();
}

void JobSession::take(const TokenOut& event) {
  progress_.phase = MetricsEvent::Phase::decode;
  progress_.prompt_done = progress_.prompt_total;
  progress_.tokens_out = event.index + 1;
  encoder_->token(event, out_);
}

void JobSession::take(const Ended& event) {
  over_ = true;
  service_.jobs().finished(seat_run());
  tokens_out_ = event.tokens_out;
  if (event.reason != StopReason::CANCELLED) {
    service_.note_backend(false);
    service_.cache().finished(cache_chain_);
    encoder_->ended(event, out_);
  } else if (seat_run().cancelled == CancelReason::shutdown) {
    // Not the client's wish: an error that says so, and that another worker may serve it.
    fail_with({.code = Code::draining, .message = "this worker shut down before the job's end"});
  } else {
    error_ = Error{.code = Code::cancelled, .message = "the job was cancelled"};
    encoder_->ended(event, out_);
  }
}

void JobSession::take(const Failed& event) {
  over_ = true;
  service_.jobs().finished(seat_run());
  if (event.error.code == Code::backend_error) service_.note_backend(true);
  fail_with(event.error);
}

void JobSession::fail_with(Error error) {
  // Before the first byte of a reply the error has a status of its own: send_end() writes it.
  if (headers_ || !out_.empty()) encoder_->failed(error, out_);
  error_ = std::move(error);
}

// The client has left: the slot is freed before the next decode; the rest is thrown away.
void JobSession::leave() {
  gone_ = true;
  out_.clear();
  service_.jobs().cancel(seat_run(), CancelReason::left);
}

void JobSession::speak_if_due() {
  if (!encoder_->streams() || over_ || gone_) return;
  const auto now = service_.clock().now();
  if (cadence_.metrics_due(now)) {
    progress_.engine_step = service_.recent_load().engine_step;
    encoder_->metrics(progress_, out_);
    cadence_.metrics_written(now);
  }
  if (cadence_.comment_due(now)) out_ += sse_comment;
}

// Until there is news, or something is due.
Task<void> JobSession::sleep() {
  if (gone_ || !encoder_->streams()) co_return co_await wake_->wait();
  const auto left = cadence_.next() - service_.clock().now();
  const auto limit = std::chrono::ceil<std::chrono::milliseconds>(left);
  const bool rung = co_await wake_->wait_for(std::max(limit, std::chrono::milliseconds(1)));
  static_cast<void>(rung);  // the caller looks for itself
}

// Of a whole body, and of a job refused before its first event, nothing is sent before the end.
bool JobSession::has_to_send() const {
  if (gone_ || !encoder_->streams()) return false;
  if (headers_) return !out_.empty();
  return !out_.empty() || cadence_.headers_due(service_.clock().now());
}

// Awaited at once.
Task<Result<void>> JobSession::begin() {
  auto headers = reply_headers(call_, "text/event-stream");
  headers.add("Cache-Control", "no-cache");
  headers.add("X-Accel-Buffering", "no");
  headers_ = true;
  cadence_.headers_written(service_.clock().now());
  return call_.exchange.begin_stream(200, std::move(headers), out_);
}

// Writes the headers, once, and what has gathered.
Task<void> JobSession::send() {
  auto writing = headers_ ? call_.exchange.write(out_) : begin();
  const auto written = co_await std::move(writing);
  out_.clear();
  if (!written) co_return leave();
  cadence_.wrote(service_.clock().now());
}

Task<void> JobSession::send_end() {
  if (gone_) co_return;
  if (headers_) {
    const bool owed = !out_.empty();
    const auto ended = co_await call_.exchange.end_stream(out_);
    if (!ended && owed) leave();  // without frames it left at the last byte, which is no event
    co_return;
  }
  if (error_) co_return co_await reply_error(call_, *error_);
  co_await reply_json(call_, 200, std::move(out_));
}

void JobSession::log_end() {
  const auto& run = seat_run();
  const auto outcome = run.cancelled != CancelReason::none ? JobOutcome::cancelled
                       : error_                            ? JobOutcome::failed
                                                           : JobOutcome::completed;
  const auto duration_ms = elapsed_ms(run.accepted_at, service_.clock().now());
  service_.count(outcome, duration_ms);
  log_event(LogLevel::info, "worker", "job_ended",
            {{"job_id", run.id.value},
             {"worker_id", service_.options().worker_id},
             {"correlation_id", run.correlation_id},
             {"attempt", static_cast<std::int64_t>(run.attempt)},
             {"outcome", wire_name(outcome)},
             {"error_code", error_ ? wire_name(error_->code) : std::string_view{}},
             {"prompt_bytes", static_cast<std::int64_t>(prompt_bytes_)},
             {"tokens_out", tokens_out_},
             {"duration_ms", duration_ms}});
}

}  // namespace

Task<void> refuse_job(Call& call, const Error& error) {
  call.service.count(JobOutcome::rejected, 0);
  co_await reply_error(call, error);
}

Task<void> run_job(Call& call, JobRequest job, std::unique_ptr<JobEncoder> encoder) {
  const auto engine = call.service.accepting();
  if (!engine) co_return co_await refuse_job(call, engine.error());
  auto seat = call.service.jobs().admit(job.id, job.attempt, call.correlation_id);
  if (!seat) co_return co_await refuse_job(call, seat.error());
  JobSession session(call, std::move(*seat), std::move(encoder));
  co_await session.run(**engine, std::move(job));
}

}  // namespace llorch
