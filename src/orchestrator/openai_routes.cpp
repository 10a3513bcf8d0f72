// The OpenAI routes over the fleet.
#include <map>
#include <utility>

#include "base/limits.h"
#include "net/framing.h"
#include "orchestrator/routes.h"
#include "orchestrator/submission.h"
#include "orchestrator/texts.h"
#include "protocol/openai_request.h"
#include "protocol/sse.h"
#include "protocol/worker_api.h"

namespace llorch {
namespace {

using std::chrono::milliseconds;

std::optional<Error> header_fields(const Call& call, Submission& submission) {
  const auto& headers = call.exchange.request().headers;
  if (const auto priority = headers.find("X-Llorch-Priority")) {
    if (*priority != "batch" && *priority != "interactive") {
      return fail_field({.field = "X-Llorch-Priority",
                         .constraint = "interactive or batch",
                         .message = "X-Llorch-Priority: must be interactive or batch"})
          .error();
    }
    const auto allowed =
        call.identity.priority(*priority == "batch" ? Priority::batch : Priority::interactive);
    if (!allowed) return allowed.error();
    submission.job->priority = submission.spec.priority = *allowed;
  }
  if (const auto session = headers.find("X-Llorch-Session")) submission.spec.session_id = *session;
  if (const auto deadline = headers.find("X-Llorch-Deadline-Ms")) {
    const auto ms = net::parse_content_length(*deadline);
    if (!ms || *ms == 0 || *ms > static_cast<std::uint64_t>(limits::job_timeout_ms_max)) {
      return fail_field({.field = "X-Llorch-Deadline-Ms",
                         .constraint = "1..1800000",
                         .message = "X-Llorch-Deadline-Ms: must be 1..1800000"})
          .error();
    }
    submission.spec.deadline_at_ms = call.service.now_ms() + static_cast<Millis>(*ms);
  }
  return std::nullopt;
}

net::Headers queue_headers(const Call& call, const JobRecord& job, std::string_view type) {
  auto headers = reply_headers(type, call.correlation_id, call.job_id);
  const auto waited =
      job.dispatched_wall
          ? std::chrono::duration_cast<milliseconds>(*job.dispatched_wall - job.accepted_wall)
                .count()
          : 0;
  headers.add("X-Queue-Wait-Ms", std::to_string(waited));
  const auto view = call.service.core().job(job.id, call.service.now_ms());
  const bool waits = view && view->queue_position > 0;
  headers.add("X-Queue-Position",
              std::to_string(waits ? view->queue_position : job.queue_position));
  return headers;
}

// Until the first bytes are there, the job has ended, or early failures can wait no longer.
Task<void> first_bytes(const Call& call, JobRecord& job) {
  const auto begun = call.service.clock().now();
  while (job.pending.empty() && !job.closed && !call.exchange.disconnected()) {
    const auto left = limits::first_event_wait_ms -
                      static_cast<std::int64_t>(elapsed_ms(begun, call.service.clock().now()));
    if (left <= 0) co_return;
    const bool rung = co_await job.bell.wait_for(milliseconds(left));
    if (!rung) co_return;
  }
}

// While it lives an attempt gives the bytes that arrive straight to the connection.
class HandOver {
 public:
  HandOver(net::Exchange& exchange, JobRecord& job, const Clock& clock)
      : exchange_(exchange), job_(job), clock_(clock), sent_at_(clock.now()) {
    job_.hand_over = [this] { return take(); };
  }
  ~HandOver() { job_.hand_over = nullptr; }
  HandOver(const HandOver&) = delete;
  HandOver& operator=(const HandOver&) = delete;

  // Until a silent stream wants a comment; one that waits in the queue wants them more often.
  milliseconds patience() const {
    const auto silent = static_cast<std::int64_t>(elapsed_ms(sent_at_, clock_.now()));
    const bool waits = job_.status == JobStatus::queued;
    if (waits && !told_) return milliseconds::zero();
    const auto most = waits ? limits::queued_comment_ms : limits::sse_comment_ms;
    return milliseconds(std::max<std::int64_t>(most - silent, 0));
  }
  void sent() {
    sent_at_ = clock_.now();
    told_ = true;
  }

 private:
  bool take() {
    if (!exchange_.offer(job_.pending)) return false;
    job_.pending.clear();
    sent();
    return !exchange_.behind() && !exchange_.disconnected();
  }

  net::Exchange& exchange_;
  JobRecord& job_;
  const Clock& clock_;
  SteadyTime sent_at_;
  bool told_ = false;  // something: a stream that waits says at once where in the queue it stands
};

// Sends what arrives until the stream is closed. False: the client has left.
Task<bool> send_stream(Call& call, JobRecord& job) {
  HandOver straight(call.exchange, job, call.service.clock());
  std::string bytes;
  while (!call.exchange.disconnected()) {
    if (job.closed) co_return true;
    if (!job.pending.empty() || call.exchange.behind()) {
      bytes.clear();
      bytes.swap(job.pending);
      if (bytes.size() > limits::unrelayed_bytes_max / 2) job.room.ring();
      const auto sent = co_await call.exchange.write(bytes);
      if (!sent) co_return false;
      straight.sent();
      continue;
    }
    std::string().swap(bytes);  // most streams are never here again
    const bool rung = co_await job.bell.wait_for(straight.patience());
    if (rung || straight.patience() > milliseconds::zero()) continue;
    auto comment = queued_comment(call.service, job);
    if (comment.empty()) comment = sse_comment;
    const auto sent = co_await call.exchange.write(comment);
    if (!sent) co_return false;
    straight.sent();
  }
  co_return false;
}

Task<void> stream_reply(Call& call, JobRecord& job) {
  co_await first_bytes(call, job);
  const auto* const failed = job.tokens.empty() ? job.error() : nullptr;
  if (failed != nullptr) co_return co_await reply_error(call, *failed);
  auto headers = queue_headers(call, job, "text/event-stream");
  headers.add("Cache-Control", "no-cache");
  headers.add("X-Accel-Buffering", "no");
  headers = with_shared(call, std::move(headers));
  const auto first = std::exchange(job.pending, {});
  const auto begun = co_await call.exchange.begin_stream(200, std::move(headers), first);
  if (!begun) co_return;
  const bool whole = co_await send_stream(call, job);
  if (!whole) co_return;
  const auto last = std::exchange(job.pending, {});
  const auto ended = co_await call.exchange.end_stream(last);
  static_cast<void>(ended);
}

Task<void> whole_reply(Call& call, JobRecord& job) {
  while (!job.closed && !call.exchange.disconnected()) co_await job.bell.wait();
  const auto* const failed = job.error();
  if (failed != nullptr) co_return co_await reply_error(call, *failed);
  if (!job.finished) {
    const Error error{.code = Code::cancelled, .message = "the request was cancelled"};
    co_return co_await reply_error(call, error);
  }
  net::HttpResponse response;
  response.status = 200;
  response.headers = queue_headers(call, job, "application/json");
  response.body = std::move(job.whole);
  co_await reply_with(call, std::move(response));
}

// An OpenAI job lives with its connection.
Task<void> run_submission(Call& call, std::unique_ptr<Submission> submission) {
  if (!submission) co_return;
  const auto job = submission->job;
  call.job_id = job->id.value;
  call.exchange.request().headers = net::Headers();  // all of them have been looked at
  call.service.submit(job, std::move(submission->spec));
  submission.reset();
  call.exchange.on_disconnect([&service = call.service, job] {
    service.cancel(job->id, "client_gone");
    job->bell.ring();
  });
  if (job->stream) {
    co_await stream_reply(call, *job);
  } else {
    co_await whole_reply(call, *job);
  }
  call.service.cancel(job->id, "client_gone");  // does nothing once it has ended
  job->reader_left = true;
  job->pending = {};
  job->whole = {};
  job->room.ring();
}

Task<bool> refuses(Call& call, const std::string& model, const std::string& capability) {
  if (call.service.draining()) {
    const Error error{.code = Code::draining, .message = "orchestratord is stopping"};
    co_await reply_error(call, error);
    co_return true;
  }
  auto good = check_model(call.service, call.identity, model, capability);
  if (good) good = call.service.keys().check_quota(call.identity, call.service.now_ms());
  if (good) co_return false;
  co_await reply_error(call, good.error());
  co_return true;
}

// Apart from what follows: a stream that lasts for minutes holds no decoded request. Null: refused.
Task<std::unique_ptr<Submission>> accept_generation(Call& call, OpenAiRoute route) {
  const auto body = taken_body(call);
  const BodyDecoder::How<OpenAiRequest> how = [route](std::string_view text) {
    return decode_openai_request(route, text);
  };
  auto request = co_await call.service.decoder().decode<OpenAiRequest>(body, how);
  if (!request) {
    co_await reply_error(call, request.error());
    co_return nullptr;
  }
  request->model = call.service.model_named(request->model);
  const bool chat = route == OpenAiRoute::chat_completions;
  const std::string capability = chat ? "chat" : "completions";
  const bool refused = co_await refuses(call, request->model, capability);
  if (refused) co_return nullptr;
  auto submission = openai_submission(call.service, call.identity, std::move(*request),
                                      std::move(*body), call.correlation_id);
  if (const auto wrong = header_fields(call, submission)) {
    co_await reply_error(call, *wrong);
    co_return nullptr;
  }
  co_return std::make_unique<Submission>(std::move(submission));
}

Task<std::unique_ptr<Submission>> accept_embedding(Call& call) {
  const auto body = taken_body(call);
  const BodyDecoder::How<EmbeddingRequest> how = decode_embedding_request;
  auto request = co_await call.service.decoder().decode<EmbeddingRequest>(body, how);
  if (!request) {
    co_await reply_error(call, request.error());
    co_return nullptr;
  }
  request->model = call.service.model_named(request->model);
  const std::string capability = "embeddings";
  const bool refused = co_await refuses(call, request->model, capability);
  if (refused) co_return nullptr;
  auto submission = embedding_submission(call.service, call.identity, *request, std::move(*body),
                                         call.correlation_id);
  if (const auto wrong = header_fields(call, submission)) {
    co_await reply_error(call, *wrong);
    co_return nullptr;
  }
  co_return std::make_unique<Submission>(std::move(submission));
}

// One entry a model that the caller may use, "ready" when any of its workers is.
std::map<std::string, ModelEntry> served_models(const Orchestrator& service,
                                                const Identity& identity) {
  std::map<std::string, ModelEntry> models;
  for (const auto& [id, worker] : service.core().workers()) {
    if (!identity.may_use(worker.registration.model)) continue;
    auto& entry = models[worker.registration.model];
    const bool first = entry.id.empty();
    entry.id = worker.registration.model;
    if (first) entry.state = "off";
    if (worker.status == WorkerStatus::healthy) entry.state = "ready";
    entry.context_tokens = std::max(entry.context_tokens, worker.registration.context_tokens);
  }
  for (const auto& [alias, target] : service.options().aliases) {
    const auto served = models.find(target);
    if (served == models.end()) continue;
    models[alias] = served->second;
    models[alias].id = alias;
  }
  return models;
}

}  // namespace

Task<void> chat_route(Call& call) {
  auto submission = co_await accept_generation(call, OpenAiRoute::chat_completions);
  co_await run_submission(call, std::move(submission));
}

Task<void> completions_route(Call& call) {
  auto submission = co_await accept_generation(call, OpenAiRoute::completions);
  co_await run_submission(call, std::move(submission));
}

Task<void> embeddings_route(Call& call) {
  auto submission = co_await accept_embedding(call);
  co_await run_submission(call, std::move(submission));
}

Task<void> models_route(Call& call) {
  std::vector<ModelEntry> models;
  for (auto& [id, entry] : served_models(call.service, call.identity))
    models.push_back(std::move(entry));
  auto body = encode_models(models);
  co_await reply_json(call, 200, std::move(body));
}

Task<void> model_route(Call& call) {
  auto models = served_models(call.service, call.identity);
  const auto found = models.find(call.id);
  if (found == models.end()) {
    const auto unknown = check_model(call.service, call.identity, call.id, "");
    const Error error{.code = Code::model_not_found,
                      .message = unknown ? "no model " + call.id : unknown.error().message};
    co_return co_await reply_error(call, error);
  }
  auto body = encode_model(found->second);
  co_await reply_json(call, 200, std::move(body));
}

}  // namespace llorch
