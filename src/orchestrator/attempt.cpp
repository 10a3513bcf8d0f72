// One attempt of a job at a worker: sends it, reads the worker's frames, passes them on.
#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "orchestrator/frame_event.h"
#include "orchestrator/frame_splitter.h"
#include "orchestrator/service.h"
#include "protocol/error_body.h"
#include "protocol/job_stream.h"

namespace llorch {
namespace {

using std::chrono::milliseconds;

// What a refusal of the worker means for the job.
Failure failure_of(unsigned status, Code code) {
  if (code == Code::draining) return Failure::draining;
  if (status == 429 || status == 503) return Failure::overloaded;
  // It does not take us, or not the way we ask: not the client's fault, and another may.
  if (status == 401 || status == 403 || status == 404 || status == 405 || status == 409) {
    return Failure::internal;
  }
  return Failure::backend;
}

Error as_told(Error error, Failure failure, const std::string& worker_id) {
  if (failure != Failure::internal) return error;
  return {.code = Code::backend_error,
          .message = "worker " + worker_id + " refused the job: " + error.message};
}

// How long frames that come fast may be held. The more streams, the dearer is each write; a lone
// one is not kept waiting for what it gains.
std::int64_t hold_ms(const Core& core) {
  constexpr std::int64_t jobs_a_ms = 8;
  std::int64_t jobs = 0;
  for (const auto& [id, worker] : core.workers()) jobs += worker.outstanding;
  return std::min(1 + jobs / jobs_a_ms, limits::frames_hold_ms_max);
}

}  // namespace

class Attempt {
 public:
  Attempt(Orchestrator& service, std::shared_ptr<JobRecord> job, std::uint32_t number)
      : service_(service), job_(std::move(job)), number_(number) {}

  Task<void> run(net::Url url);

 private:
  bool current() const { return !aborted_ && job_->attempt == number_; }
  Task<Result<std::unique_ptr<net::ResponseStream>>> open(net::Url url, net::Abort& opening);
  net::HttpRequest request() const;
  std::string body() const;
  Task<void> refused(net::ResponseStream& reply);
  Task<void> read_frames(net::ResponseStream& reply);
  Task<void> wait_for_room();
  void show_readers();
  Task<void> read_whole(net::ResponseStream& reply);
  Task<std::optional<std::string>> read_body(net::ResponseStream& reply, std::size_t bytes_max);
  bool take(const RelayFrame& frame);
  void take_started(const RelayFrame& frame);
  void take_metrics(const RelayFrame& frame);
  void take_error(const RelayFrame& frame);
  void take_tokens(const RelayFrame& frame, const StreamPosition& position);
  void take_finish(const RelayFrame& frame, const StreamPosition& position);
  void pass_on(const RelayFrame& frame, std::int64_t seq);
  void fail_with(Failure failure, Error error);
  void tell_progress();

  Orchestrator& service_;
  const std::shared_ptr<JobRecord> job_;
  const std::uint32_t number_;
  bool aborted_ = false;
  bool over_ = false;  // nothing more is expected of the worker
  SteadyTime progress_told_;
  SteadyTime read_at_;       // the bytes whose frames are being taken
  StreamPosition position_;  // of the frame that is taken
};

net::HttpRequest Attempt::request() const {
  net::HttpRequest request;
  request.method = "POST";
  request.headers.add("Content-Type", "application/json");
  request.headers.add("X-Correlation-Id", job_->correlation_id);
  request.headers.add("X-Hold-Ms", std::to_string(hold_ms(service_.core())));
  const auto& token = service_.options().worker_token;
  if (!token.empty()) request.headers.add("Authorization", "Bearer " + token);
  request.body = body();
  return request;
}

std::string Attempt::body() const {
  if (job_->kind == JobKind::embeddings) return job_->body;
  if (job_->request != nullptr) {
    auto task = *job_->request;
    task.id = job_->id;
    task.attempt = number_;
    task.cache_scope = job_->tenant;
    task.resume_tokens = job_->tokens;
    return encode_execute(task);
  }
  JobRequest identity;
  identity.id = job_->id;
  identity.attempt = number_;
  identity.cache_scope = job_->tenant;
  identity.resume_tokens = job_->tokens;
  const auto route =
      job_->kind == JobKind::chat ? OpenAiRoute::chat_completions : OpenAiRoute::completions;
  return encode_execute_relay(identity, route, job_->body, job_->id.value, job_->created);
}

// Not within what follows: a stream that lasts for minutes holds no request.
Task<Result<std::unique_ptr<net::ResponseStream>>> Attempt::open(net::Url url,
                                                                 net::Abort& opening) {
  const bool embeddings = job_->kind == JobKind::embeddings;
  url.target = embeddings ? "/v1/embeddings" : "/execute";
  const milliseconds patience(embeddings ? limits::job_timeout_ms : limits::worker_head_ms);
  return service_.client_.open(std::move(url), request(), patience, &opening);
}

Task<void> Attempt::run(net::Url url) {
  net::Abort opening;
  net::ResponseStream* upstream = nullptr;
  job_->abort = [&] {
    aborted_ = true;
    opening.now();
    if (upstream != nullptr) upstream->close();
    job_->room.ring();
  };
  const auto opened = co_await open(std::move(url), opening);
  if (opened && current()) {
    upstream = opened->get();
    if (upstream->status() != 200) {
      co_await refused(*upstream);
    } else if (job_->kind == JobKind::embeddings) {
      co_await read_whole(*upstream);
    } else {
      co_await read_frames(*upstream);
    }
  } else if (!opened && current()) {
    fail_with(Failure::unreachable, {.code = Code::worker_lost,
                                     .message = "worker " + job_->worker_id +
                                                " cannot be reached: " + opened.error().message});
  }
  if (job_->attempt == number_) job_->abort = nullptr;
}

Task<std::optional<std::string>> Attempt::read_body(net::ResponseStream& reply,
                                                    std::size_t bytes_max) {
  std::string body;
  while (true) {
    auto bytes = co_await reply.read(milliseconds(limits::worker_silence_ms));
    if (!bytes || body.size() + bytes->size() > bytes_max) co_return std::nullopt;
    if (bytes->empty()) co_return body;
    body += *bytes;
  }
}

Task<void> Attempt::refused(net::ResponseStream& reply) {
  const auto status = reply.status();
  const auto body = co_await read_body(reply, limits::error_bytes_max);
  if (!current()) co_return;
  auto error = decode_error(status, body.value_or("")).error;
  const auto failure = failure_of(status, error.code);
  fail_with(failure, as_told(std::move(error), failure, job_->worker_id));
}

Task<void> Attempt::read_whole(net::ResponseStream& reply) {
  auto body = co_await read_body(reply, limits::response_bytes_max);
  if (!current()) co_return;
  if (!body) {
    co_return fail_with(Failure::worker_lost,
                        {.code = Code::worker_lost, .message = "the worker broke off its reply"});
  }
  job_->whole = std::move(*body);
  job_->finished = job_->closed = true;
  service_.tell(AttemptEnded{job_->id, number_, 0, StopReason::EOS});
}

Task<void> Attempt::read_frames(net::ResponseStream& reply) {
  reply.forget_headers();
  FrameSplitter splitter;
  while (current() && !over_) {
    if (job_->pending.size() > limits::unrelayed_bytes_max) co_await wait_for_room();
    if (job_->reader_left && job_->finished) co_return;
    // Once the answer is whole, what is left is its usage and its end.
    const auto patience = job_->finished ? limits::worker_end_ms : limits::worker_silence_ms;
    const auto got = co_await reply.read_onto(splitter.inbox(), milliseconds(patience));
    if (aborted_ || job_->attempt != number_) break;
    read_at_ = service_.clock().now();
    if (!got || *got == 0) {
      co_return fail_with(Failure::worker_lost,
                          {.code = Code::worker_lost,
                           .message = "the stream of worker " + job_->worker_id + " broke off"});
    }
    const auto fits = splitter.check();
    if (!fits) co_return fail_with(Failure::backend, fits.error());
    if (job_->stream && job_->openai()) {
      job_->pending.reserve(job_->pending.size() + splitter.size());
    }
    RelayFrame frame;
    while (!over_ && current() && splitter.next(frame)) {
      if (!take(frame)) break;
    }
    show_readers();
    if (over_) break;
    tell_progress();
    // Thousands of streams hold no buffers between two tokens.
    splitter.release_if_empty();
    if (job_->pending.empty()) std::string().swap(job_->pending);
  }
  // The end of the body: a connection that has been read to it serves the next job.
  if (job_->closed && !aborted_) {
    const auto end = co_await reply.read(milliseconds(limits::worker_tail_ms));
    static_cast<void>(end);
  }
}

// A task's readers hear of its frames once they are written. The one reader of an OpenAI stream is
// given its bytes at once, but for the last: those it sends together with the end of its reply.
void Attempt::show_readers() {
  auto* const journal = service_.journal();
  if (job_->kind == JobKind::task && journal != nullptr) return journal->show(job_);
  job_->show_frames();
  if (job_->pending.empty() && !job_->closed && job_->kind != JobKind::task) return;
  const bool handed = !job_->closed && job_->hand_over && job_->hand_over();
  if (!handed) job_->bell.ring();
}

// A reader that takes nothing makes the worker wait, and is no stall of it.
Task<void> Attempt::wait_for_room() {
  const auto begun = service_.clock().now();
  while (job_->pending.size() > limits::unrelayed_bytes_max && current() && !job_->reader_left) {
    const bool rung = co_await job_->room.wait_for(milliseconds(limits::probe_unhealthy_ms));
    if (!rung) service_.tell(ClientStalled{job_->id, number_});
  }
  job_->client_stalled_ms += elapsed_ms(begun, service_.clock().now());
}

// False: the rest of the stream does not matter.
bool Attempt::take(const RelayFrame& frame) {
  if (frame.type == "started") return take_started(frame), true;
  if (frame.type == "metrics") return take_metrics(frame), true;
  if (frame.type == "error") return take_error(frame), false;
  if (frame.id.empty()) {  // the role frame of an OpenAI stream, its usage and its [DONE]
    if (!job_->stream || job_->kind == JobKind::task) return true;
    // Another attempt begins anew, but the client's stream does not.
    if (!job_->finished && std::exchange(job_->opened, true)) return true;
    job_->pending += frame.rest;
    if (frame.data == "[DONE]") over_ = job_->closed = true;
    return !over_;
  }
  if (const auto read = read_stream_position(frame.id, position_); !read) {
    fail_with(Failure::backend, read.error());
    return false;
  }
  if (position_.token_ids.empty()) {
    take_finish(frame, position_);
  } else {
    take_tokens(frame, position_);
  }
  return !over_;
}

void Attempt::take_started(const RelayFrame& frame) {
  const auto event = event_of(frame);
  const auto* const started = event ? std::get_if<StartedEvent>(&*event) : nullptr;
  if (started == nullptr) return;
  job_->prompt_tokens = started->prompt_tokens;
  job_->cached_tokens = started->cached_tokens;
  if (job_->kind == JobKind::task && !job_->started) pass_on(frame, first_token_seq - 1);
  job_->started = true;
  // A seed that the worker chose is the job's from now on: another worker must draw the same.
  if (job_->request != nullptr) job_->request->sampling.seed = started->seed;
  service_.tell(AttemptStarted{job_->id, number_, started->prompt_tokens, started->cached_tokens});
}

void Attempt::take_metrics(const RelayFrame& frame) {
  const auto event = event_of(frame);
  if (const auto* const told = event ? std::get_if<MetricsEvent>(&*event) : nullptr) {
    service_.tell(AttemptProgress{.job = job_->id,
                                  .attempt = number_,
                                  .tokens_out = static_cast<std::int64_t>(job_->tokens.size()),
                                  .prompt_done = told->prompt_done,
                                  .engine_step = told->engine_step});
  }
  if (job_->kind != JobKind::task) return;
  job_->metrics = frame.rest;
  ++job_->metrics_count;
}

void Attempt::take_error(const RelayFrame& frame) {
  auto error = decode_error_event(frame.data).error;
  const auto failure = error.code == Code::draining ? Failure::draining : Failure::backend;
  fail_with(failure, std::move(error));
}

void Attempt::take_tokens(const RelayFrame& frame, const StreamPosition& position) {
  const auto last = position.seq - first_token_seq;
  const auto expected = static_cast<std::int64_t>(job_->tokens.size() + position.token_ids.size());
  if (last + 1 != expected) {
    // A token missing or twice would reach the client: this worker's stream is no good.
    return fail_with(Failure::backend,
                     {.code = Code::backend_error,
                      .message = "the worker's stream continues at token " + std::to_string(last) +
                                 ", want " + std::to_string(expected - 1)});
  }
  // What does not end would be kept for ever.
  const auto most = job_->max_tokens > 0 ? job_->max_tokens : limits::answer_tokens_max;
  if (expected > most) {
    return fail_with(Failure::backend, {.code = Code::backend_error,
                                        .message = "the worker's stream has more than the " +
                                                   std::to_string(most) + " tokens of the job"});
  }
  // That there are tokens decides where the job may go on: the decision machine hears it at once.
  service_.note_token(*job_, read_at_);
  if (job_->tokens.empty()) progress_told_ = {};
  if (job_->tokens.empty()) {
    job_->first_token_wall = service_.clock().wall();
    constexpr std::size_t usual = 32;
    job_->tokens.reserve(usual);
  }
  job_->tokens.insert(job_->tokens.end(), position.token_ids.begin(), position.token_ids.end());
  if (job_->stream) pass_on(frame, position.seq);
}

void Attempt::take_finish(const RelayFrame& frame, const StreamPosition& position) {
  const auto seq = position.seq;
  const bool task = job_->kind == JobKind::task;
  if (seq != job_->next_seq() || (task && frame.type != "end")) {
    return fail_with(Failure::backend, {.code = Code::backend_error,
                                        .message = "the worker's stream ends out of turn"});
  }
  if (job_->stream) {
    pass_on(frame, seq);
  } else {
    job_->whole = frame.data;
  }
  job_->finished = true;
  auto reason = StopReason::EOS;
  if (task) {
    const auto event = event_of(frame);
    if (const auto* const end = event ? std::get_if<EndEvent>(&*event) : nullptr) {
      reason = end->stop_reason;
    }
  }
  if (job_->kind == JobKind::task || !job_->stream) over_ = job_->closed = true;
  service_.tell(AttemptEnded{job_->id, number_, seq - first_token_seq, reason});
}

// With the client's id line instead of the worker's.
void Attempt::pass_on(const RelayFrame& frame, std::int64_t seq) {
  if (job_->kind != JobKind::task) {
    job_->pending += frame.rest;
    return;
  }
  KeptFrame kept{.seq = seq, .bytes = "id: " + std::to_string(seq) + "\n"};
  kept.bytes += frame.rest;
  if (auto* const journal = service_.journal()) {
    // With the worker's ids: they are what another attempt goes on from.
    std::string logged = "id: " + std::string(frame.id) + "\n";
    logged += frame.rest;
    journal->keep(job_->id, seq, logged);
  }
  job_->frames.push_back(std::move(kept));
}

void Attempt::fail_with(Failure failure, Error error) {
  over_ = true;
  if (service_.stopped_) return;  // we leave; the job goes on after the restart
  if (job_->finished) {
    // The answer is whole; only what closes an OpenAI stream is missing.
    if (job_->stream && !job_->closed) append_sse_frame(job_->pending, {}, {}, "[DONE]");
    job_->closed = true;
    job_->bell.ring();
    return;
  }
  log_event(LogLevel::warn, "orchestrator", "attempt_failed",
            {{"job_id", job_->id.value},
             {"correlation_id", job_->correlation_id},
             {"worker_id", job_->worker_id},
             {"attempt", static_cast<std::int64_t>(number_)},
             {"kind", policy_kind(failure)},
             {"code", wire_name(error.code)},
             {"tokens_out", static_cast<std::int64_t>(job_->tokens.size())}});
  service_.tell(AttemptFailed{.job = job_->id,
                              .attempt = number_,
                              .tokens_out = static_cast<std::int64_t>(job_->tokens.size()),
                              .failure = failure,
                              .error = std::move(error)});
}

void Attempt::tell_progress() {
  const auto now = service_.clock().now();
  if (elapsed_ms(progress_told_, now) < static_cast<double>(limits::progress_ms)) return;
  progress_told_ = now;
  service_.tell(AttemptProgress{.job = job_->id,
                                .attempt = number_,
                                .tokens_out = static_cast<std::int64_t>(job_->tokens.size()),
                                .prompt_done = 0,
                                .engine_step = 0});
}

Task<void> Orchestrator::run_attempt(std::shared_ptr<JobRecord> job, std::uint32_t attempt,
                                     std::string worker_id) {
  const auto worker = core_.workers().find(worker_id);
  if (worker == core_.workers().end()) co_return;
  if (const auto* const server = external(worker_id)) {
    co_return co_await run_external(std::move(job), attempt, *server);
  }
  Attempt running(*this, std::move(job), attempt);
  co_await running.run(worker_url(worker->second.registration));
}

}  // namespace llorch
