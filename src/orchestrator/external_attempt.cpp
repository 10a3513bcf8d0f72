// One attempt of a job at someone else's OpenAI-compatible server, and how such servers join the
// fleet. Nothing can go on from the middle of their answers: what fails after its first token ends.
#include <utility>
#include <vector>

#include "base/limits.h"
#include "base/log.h"
#include "orchestrator/external_reply.h"
#include "orchestrator/service.h"
#include "protocol/openai_request.h"
#include "protocol/sse.h"

namespace llorch {
namespace {

using std::chrono::milliseconds;

constexpr Token unnamed_token = -1;  // such servers tell text, not ids

std::string_view path_of(JobKind kind) {
  if (kind == JobKind::embeddings) return "/v1/embeddings";
  return route_path(kind == JobKind::chat ? OpenAiRoute::chat_completions
                                          : OpenAiRoute::completions);
}

Error broken(const ExternalServer& server, const std::string& how) {
  return {.code = Code::worker_lost, .message = "external server '" + server.name + "' " + how};
}

}  // namespace

// Shared, because its coroutine is told to stop and ends a little later.
class ExternalAttempt : public std::enable_shared_from_this<ExternalAttempt> {
 public:
  ExternalAttempt(Orchestrator& service, const ExternalServer& server,
                  std::shared_ptr<JobRecord> job, std::uint32_t number)
      : service_(service),
        server_(server),
        job_(std::move(job)),
        number_(number),
        talk_(service.executor()) {}

  Task<void> run();

 private:
  static Task<void> talk(std::shared_ptr<ExternalAttempt> self);
  bool current() const { return !aborted_ && job_->attempt == number_; }
  bool whole() const { return !job_->stream; }
  milliseconds patience() const;
  ReplyIdentity identity() const;
  Task<std::optional<std::string>> read_body(net::ResponseStream& reply, std::size_t bytes_max);
  Task<void> refused(net::ResponseStream& reply);
  Task<void> read_whole(net::ResponseStream& reply);
  Task<void> read_frames(net::ResponseStream& reply);
  Task<void> wait_for_room();
  bool take(const SseEvent& event);
  void take_usage(const ExternalReply& reply);
  void tell_started();
  void tell_progress();
  void end();
  void fail_with(Failure failure, Error error);

  Orchestrator& service_;
  const ExternalServer& server_;
  const std::shared_ptr<JobRecord> job_;
  const std::uint32_t number_;
  net::TaskGroup talk_;
  bool aborted_ = false;
  bool started_ = false;
  bool over_ = false;  // nothing more is expected of the server
  SteadyTime progress_told_;
};

// Ending the coroutine closes the connection, at any point: that is how these servers are told.
Task<void> ExternalAttempt::run() {
  const auto self = shared_from_this();
  struct Stop {  // also when we are told to stop ourselves
    net::TaskGroup& group;
    ~Stop() { group.cancel(); }
  };
  const Stop stop{talk_};
  job_->abort = [self] {
    self->aborted_ = true;
    self->talk_.cancel();
  };
  talk_.spawn(talk(self));
  co_await talk_.join();
  if (job_->attempt == number_) job_->abort = nullptr;
}

// A stream shows progress by its frames; a whole reply comes when it comes.
milliseconds ExternalAttempt::patience() const {
  return milliseconds(whole() ? limits::job_timeout_ms : service_.options().stall_ms);
}

ReplyIdentity ExternalAttempt::identity() const {
  const bool named = job_->kind != JobKind::embeddings;
  return {.id = named ? job_->id.value : "", .created = job_->created, .model = job_->model};
}

Task<void> ExternalAttempt::talk(std::shared_ptr<ExternalAttempt> self) {
  auto& it = *self;
  auto request = external_request(it.server_, "POST");
  request.headers.add("Content-Type", "application/json");
  request.headers.add("X-Correlation-Id", it.job_->correlation_id);
  auto body =
      external_body(it.job_->body, it.server_.models.at(it.job_->model), it.job_->seed_is_ours);
  if (!body) co_return it.fail_with(Failure::backend, body.error());
  request.body = std::move(*body);
  auto url = external_url(it.server_, path_of(it.job_->kind));
  auto opened =
      co_await it.service_.client().open(std::move(url), std::move(request), it.patience());
  if (!it.current()) co_return;
  if (!opened) {
    const bool slow = opened.error().code == Code::timeout;
    auto error = broken(it.server_, "cannot be reached: " + opened.error().message);
    if (slow) error.code = Code::worker_timeout;
    co_return it.fail_with(slow ? Failure::stalled : Failure::unreachable, std::move(error));
  }
  auto& reply = **opened;
  if (reply.status() != 200) {
    co_await it.refused(reply);
  } else if (it.whole()) {
    co_await it.read_whole(reply);
  } else {
    co_await it.read_frames(reply);
  }
}

Task<std::optional<std::string>> ExternalAttempt::read_body(net::ResponseStream& reply,
                                                            std::size_t bytes_max) {
  std::string body;
  while (true) {
    auto bytes = co_await reply.read(patience());
    if (!bytes || body.size() + bytes->size() > bytes_max) co_return std::nullopt;
    if (bytes->empty()) co_return body;
    body += *bytes;
  }
}

Task<void> ExternalAttempt::refused(net::ResponseStream& reply) {
  const auto status = reply.status();
  const auto wait = retry_after_of(reply.headers());
  const auto body = co_await read_body(reply, limits::error_bytes_max);
  if (!current()) co_return;
  auto refusal = external_refusal(server_, status, body.value_or(""), wait);
  fail_with(refusal.failure, std::move(refusal.error));
}

Task<void> ExternalAttempt::read_whole(net::ResponseStream& reply) {
  tell_started();
  const auto body = co_await read_body(reply, limits::response_bytes_max);
  if (!current()) co_return;
  if (!body) co_return fail_with(Failure::worker_lost, broken(server_, "broke off its reply"));
  auto read = read_external_reply(*body, identity(), limits::response_bytes_max);
  if (!read) co_return fail_with(Failure::backend, read.error());
  take_usage(*read);
  job_->whole = std::move(read->json);
  over_ = true;
  end();
}

Task<void> ExternalAttempt::read_frames(net::ResponseStream& reply) {
  SseParser parser;
  std::vector<SseEvent> events;
  while (current() && !over_) {
    co_await wait_for_room();
    const auto limit = job_->finished ? milliseconds(limits::worker_end_ms) : patience();
    auto bytes = co_await reply.read(limit);
    if (!current()) co_return;
    if (!bytes || bytes->empty()) {
      const bool silent = !bytes && bytes.error().code == Code::timeout;
      auto error = broken(server_, silent ? "made no progress" : "broke off its stream");
      if (silent) error.code = Code::worker_timeout;
      co_return fail_with(silent ? Failure::stalled : Failure::worker_lost, std::move(error));
    }
    events.clear();
    if (const auto fed = parser.feed(*bytes, events); !fed) {
      co_return fail_with(Failure::backend, fed.error());
    }
    for (const auto& event : events) {
      if (!take(event)) break;
    }
    job_->bell.ring();
    if (!over_) tell_progress();
  }
  // The end of the body: a connection that has been read to it serves the next job.
  if (current() && job_->closed) {
    const auto end = co_await reply.read(milliseconds(limits::worker_tail_ms));
    static_cast<void>(end);
  }
}

// A reader that takes nothing makes the server wait.
Task<void> ExternalAttempt::wait_for_room() {
  while (job_->pending.size() > limits::unrelayed_bytes_max && current() && !job_->reader_left) {
    const bool rung = co_await job_->room.wait_for(milliseconds(limits::probe_unhealthy_ms));
    static_cast<void>(rung);
  }
}

// False: the rest of the stream does not matter.
bool ExternalAttempt::take(const SseEvent& event) {
  if (event.data == "[DONE]") {
    append_sse_frame(job_->pending, {}, {}, event.data);
    over_ = true;
    end();  // also of one that never named the reason
    return false;
  }
  auto frame = read_external_reply(event.data, identity(), limits::frame_bytes_max);
  if (!frame) return fail_with(Failure::backend, frame.error()), false;
  tell_started();
  take_usage(*frame);
  const bool answer = frame->output || frame->finished;
  if (frame->output) {
    service_.note_token(*job_, service_.clock().now());
    if (job_->tokens.empty()) {
      progress_told_ = {};
      job_->first_token_wall = service_.clock().wall();
    }
    job_->tokens.push_back(unnamed_token);
  }
  // Another attempt begins anew, but the client's stream does not.
  if (std::exchange(job_->opened, true) && !answer && job_->tokens.empty()) return true;
  append_sse_frame(job_->pending, {}, {}, frame->json);
  if (frame->finished) job_->finished = true;
  return true;
}

// Exact where the server tells it; else a frame counts as a token.
void ExternalAttempt::take_usage(const ExternalReply& reply) {
  if (reply.prompt_tokens) job_->prompt_tokens = *reply.prompt_tokens;
  if (!reply.completion_tokens) return;
  job_->tokens.resize(static_cast<std::size_t>(*reply.completion_tokens), unnamed_token);
}

void ExternalAttempt::tell_started() {
  if (std::exchange(started_, true)) return;
  service_.tell(AttemptStarted{job_->id, number_, 0, 0});
}

void ExternalAttempt::tell_progress() {
  const auto now = service_.clock().now();
  if (elapsed_ms(progress_told_, now) < static_cast<double>(limits::progress_ms)) return;
  progress_told_ = now;
  service_.tell(AttemptProgress{.job = job_->id,
                                .attempt = number_,
                                .tokens_out = static_cast<std::int64_t>(job_->tokens.size()),
                                .prompt_done = 0,
                                .engine_step = 0});
}

// Only now, not with the finish frame: its usage comes behind that, and until then the server is
// busy with us.
void ExternalAttempt::end() {
  job_->finished = job_->closed = true;
  service_.tell(AttemptEnded{job_->id, number_, static_cast<std::int64_t>(job_->tokens.size()),
                             StopReason::EOS});
}

void ExternalAttempt::fail_with(Failure failure, Error error) {
  over_ = true;
  if (service_.stopped()) return;
  if (job_->finished) {
    // The answer is whole; only what closes the stream is missing.
    if (job_->stream) append_sse_frame(job_->pending, {}, {}, "[DONE]");
    return end();
  }
  const auto tokens = static_cast<std::int64_t>(job_->tokens.size());
  log_event(LogLevel::warn, "orchestrator", "attempt_failed",
            {{"job_id", job_->id.value},
             {"worker_id", job_->worker_id},
             {"attempt", static_cast<std::int64_t>(number_)},
             {"kind", policy_kind(failure)},
             {"code", wire_name(error.code)},
             {"tokens_out", tokens}});
  service_.tell(AttemptFailed{.job = job_->id,
                              .attempt = number_,
                              .tokens_out = tokens,
                              .failure = failure,
                              .error = std::move(error),
                              .resumable = false});
}

Task<void> Orchestrator::run_external(std::shared_ptr<JobRecord> job, std::uint32_t attempt,
                                      const ExternalServer& server) {
  const auto running = std::make_shared<ExternalAttempt>(*this, server, std::move(job), attempt);
  co_await running->run();
}

void Orchestrator::join_external_servers() {
  for (const auto& server : options_.external) {
    for (const auto& [model, theirs] : server.models) {
      auto entry = external_registration(server, model);
      const auto id = entry.worker_id;
      external_.emplace(id, &server);
      tell(WorkerRegistered{
          .registration = std::move(entry), .external = true, .fallback = server.fallback});
      tell(WorkerProbed{id, false});  // until it shows that it is there
    }
  }
}

const ExternalServer* Orchestrator::external(const std::string& worker_id) const {
  const auto found = external_.find(worker_id);
  return found == external_.end() ? nullptr : found->second;
}

// Such a server is well when it lists its models, or says so at /health where it lists none.
Task<void> Orchestrator::probe_external(std::string worker_id, const ExternalServer& server) {
  std::string reason;
  for (const char* const path : {"/v1/models", "/health"}) {
    auto request = external_request(server, "GET");
    auto url = external_url(server, path);
    const auto reply = co_await client_.fetch(std::move(url), std::move(request),
                                              milliseconds(limits::external_probe_ms));
    reason = !reply                 ? reply.error().message
             : reply->status != 200 ? "answers " + std::to_string(reply->status) + " at " + path
                                    : std::string();
    if (!reply || reply->status != 404) break;
  }
  if (stopped_) co_return;
  auto& known = external_problem_[worker_id];
  if (known != reason && !reason.empty()) {
    log_event(LogLevel::warn, "orchestrator", "external_unhealthy",
              {{"worker_id", worker_id}, {"reason", reason}});
  }
  known = reason;
  tell(WorkerProbed{std::move(worker_id), reason.empty()});
}

}  // namespace llorch
