#include "remote/infer_job.h"

#include <chrono>
#include <csignal>
#include <cstdio>
#include <fmt/format.h>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "console/json_output.h"
#include "console/report.h"
#include "console/terminal.h"
#include "console/waiting_line.h"
#include "net/client.h"
#include "net/event.h"
#include "net/run.h"
#include "net/task_group.h"
#include "protocol/error_body.h"
#include "protocol/sse.h"
#include "protocol/worker_api.h"
#include "remote/infer_request.h"
#include "remote/infer_session.h"
#include "remote/infer_target.h"

namespace llorch {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds head_wait{limits::stream_head_ms};
constexpr milliseconds silence{limits::stream_silence_ms};
constexpr milliseconds cancel_wait{limits::infer_cancel_ms};

}  // namespace

class InferJob::Parts {
 public:
  Parts(asio::io_context& io, InferOptions options, InferOutput output, const Clock& clock)
      : options_(std::move(options)),
        output_(std::move(output)),
        clock_(clock),
        client_(io),
        group_(io.get_executor()),
        interrupted_(io.get_executor()),
        ended_(io.get_executor()),
        waiting_(output_.note, output_.note_is_terminal) {}

  Task<Result<ExitCode>> run();
  void interrupt(int signal_number);

 private:
  Task<void> whole_job();
  Task<Result<void>> on_worker();
  Task<Result<void>> through_orchestrator();
  Task<Result<void>> find_model();
  Task<Result<std::string>> submit();
  Task<Result<void>> follow(net::Url url);
  Task<Result<void>> read_events(net::Url url, net::HttpRequest request);
  Result<void> take(const std::vector<SseEvent>& events);
  Task<Result<net::HttpResponse>> ask(std::string method, std::string path, std::string body);
  Task<Error> not_an_orchestrator(Error error);
  Task<void> cancel_there();
  Task<void> stop();
  Task<void> show_waiting();
  void begin(std::string job_id);
  void show(std::string_view text);
  void sum_up();

  InferOptions options_;
  InferOutput output_;
  const Clock& clock_;
  InferTarget target_;
  net::HttpClient client_;
  net::TaskGroup group_;
  net::Event interrupted_;
  net::Event ended_;
  WaitingLine waiting_;
  std::unique_ptr<InferSession> session_;  // once the job has an id
  std::optional<Error> error_;
  std::string last_event_id_;
  int signal_ = 0;
  bool reader_gone_ = false;  // stdout is closed
  bool over_ = false;
  char last_shown_ = '\n';
};

Task<Result<ExitCode>> InferJob::Parts::run() {
  auto target = infer_target(options_);
  if (!target) co_return fail(target.error());
  target_ = std::move(*target);
  group_.spawn(whole_job());
  if (output_.note_is_terminal) group_.spawn(show_waiting());
  co_await group_.join();
  waiting_.clear();
  sum_up();
  if (reader_gone_) co_return exit_ok;
  if (signal_ != 0) co_return signal_ == SIGTERM ? exit_terminated : exit_interrupted;
  if (error_) co_return fail(explain(*error_, target_));
  co_return exit_ok;
}

Task<void> InferJob::Parts::whole_job() {
  Result<void> done;
  if (target_.kind == InferTarget::Kind::worker) {
    done = co_await on_worker();
  } else {
    done = co_await through_orchestrator();
  }
  if (done && session_) done = session_->verdict();
  if (!done) {
    error_ = done.error();
    if (session_) session_->broke(done.error(), clock_.now());
    if (session_ && session_->writing() && error_->code == Code::unreachable) {
      error_->next = "run the same command again";
    }
  }
  if (reader_gone_) co_await cancel_there();
  over_ = true;
  ended_.ring();
}

Task<Result<void>> InferJob::Parts::on_worker() {
  begin(random_uuid());
  auto url = target_.at("/execute");
  auto request = target_.request("POST", worker_job_body(options_, session_->figures().job_id));
  const auto read = co_await read_events(std::move(url), std::move(request));
  co_return read;
}

Task<Result<void>> InferJob::Parts::through_orchestrator() {
  if (options_.model.empty()) {
    const auto found = co_await find_model();
    if (!found) co_return fail(found.error());
  }
  auto task = co_await submit();
  if (!task) co_return fail(task.error());
  begin(*task);
  if (signal_ != 0) {  // It came while there was no id to cancel yet.
    co_await cancel_there();
    co_return Result<void>{};
  }
  const auto read = co_await follow(target_.at("/v2/tasks/" + *task + "/events"));
  co_return read;
}

Task<Result<void>> InferJob::Parts::find_model() {
  const auto reply = co_await ask("GET", "/v1/models", {});
  if (!reply) co_return fail(reply.error());
  auto model = only_model(reply->body);
  if (!model) co_return fail(model.error());
  options_.model = std::move(*model);
  co_return Result<void>{};
}

// The id of the accepted task.
Task<Result<std::string>> InferJob::Parts::submit() {
  auto url = target_.at("/v2/tasks");
  auto request = target_.request("POST", task_body(options_));
  const auto& key = options_.idempotency_key;
  request.headers.set("Idempotency-Key", key.empty() ? random_uuid() : key);
  const auto reply = co_await client_.fetch(std::move(url), std::move(request), head_wait);
  if (!reply) co_return fail(reply.error());
  if (reply->status != 202) {
    auto error = decode_error(reply->status, reply->body).error;
    if (reply->status == 404) error = co_await not_an_orchestrator(std::move(error));
    co_return fail(std::move(error));
  }
  co_return task_id(reply->body);
}

// Someone who forgot --worker may have a worker on orchestratord's port: say so.
Task<Error> InferJob::Parts::not_an_orchestrator(Error error) {
  const auto reply = co_await ask("GET", "/health", {});
  if (!reply) co_return error;
  const auto health = decode_health(reply->body);
  if (!health || health->worker_id.empty()) co_return error;
  error.message = "a worker answers there (" + health->worker_id + "), not orchestratord";
  error.next = infer_on_worker(net::authority_of(target_.base));
  co_return error;
}

// Reads the task's events to their end, over as many connections as it takes.
Task<Result<void>> InferJob::Parts::follow(net::Url url) {
  milliseconds backoff{limits::resume_backoff_ms};
  for (int fruitless = 0;; ++fruitless) {
    auto request = target_.request("GET");
    request.headers.set("Accept", "text/event-stream");
    if (!last_event_id_.empty()) request.headers.set("Last-Event-ID", last_event_id_);
    const auto before = last_event_id_;
    const auto read = co_await read_events(url, std::move(request));
    if (session_->ended() || reader_gone_ || signal_ != 0) co_return read;
    if (!read && !is_retriable(read.error().code)) co_return read;
    if (last_event_id_ != before) {
      fruitless = 0;
      backoff = milliseconds{limits::resume_backoff_ms};
    }
    if (fruitless >= limits::resume_attempts_max) co_return read;
    const bool interrupted = co_await interrupted_.wait_for(backoff);
    if (interrupted) co_return read;
    backoff *= 2;
  }
}

// One connection's share of the job's events.
Task<Result<void>> InferJob::Parts::read_events(net::Url url, net::HttpRequest request) {
  auto opened = co_await client_.open(std::move(url), std::move(request), head_wait);
  if (!opened) co_return fail(opened.error());
  auto& stream = **opened;
  std::string refusal;
  SseParser parser;
  std::vector<SseEvent> events;
  for (;;) {
    const auto bytes = co_await stream.read(silence);
    if (!bytes) co_return fail(bytes.error());
    if (stream.status() != 200) {
      refusal += *bytes;
      if (!bytes->empty() && refusal.size() < limits::error_bytes_max) continue;
      co_return fail(decode_error(stream.status(), refusal).error);
    }
    if (bytes->empty()) co_return Result<void>{};
    events.clear();
    const auto parsed = parser.feed(*bytes, events);
    if (!parsed) co_return fail(parsed.error());
    const auto taken = take(events);
    if (!taken || session_->ended() || reader_gone_) co_return taken;
  }
}

Result<void> InferJob::Parts::take(const std::vector<SseEvent>& events) {
  for (const auto& event : events) {
    const auto decoded = decode_job_event(event);
    if (!decoded) return fail(decoded.error());
    if (const auto& known = *decoded; known) {
      const auto text = session_->take(*known, clock_.now());
      if (!text) return fail(text.error());
      show(*text);
    }
    last_event_id_ = event.id;
    if (session_->ended() || reader_gone_) break;
  }
  return {};
}

Task<Result<net::HttpResponse>> InferJob::Parts::ask(std::string method, std::string path,
                                                     std::string body) {
  auto url = target_.at(std::move(path));
  auto request = target_.request(std::move(method), std::move(body));
  auto reply = co_await client_.fetch(std::move(url), std::move(request), cancel_wait);
  if (reply && reply->status != 200) co_return fail(decode_error(reply->status, reply->body).error);
  co_return reply;
}

// Ends the job where it runs. What goes wrong is of no use any more: we are leaving.
Task<void> InferJob::Parts::cancel_there() {
  if (!session_) co_return;
  auto body = encode_cancel(JobId{session_->figures().job_id});
  const auto reply = co_await ask("POST", "/cancel", std::move(body));
  static_cast<void>(reply);
}

void InferJob::Parts::interrupt(int signal_number) {
  if (signal_ != 0 || over_) return;
  signal_ = signal_number;
  interrupted_.ring();
  group_.spawn(stop());
}

Task<void> InferJob::Parts::stop() {
  co_await cancel_there();
  if (over_) co_return;  // It ended in its own stream.
  const bool ended = co_await ended_.wait_for(cancel_wait);
  if (ended) co_return;
  over_ = true;
  group_.cancel();
}

Task<void> InferJob::Parts::show_waiting() {
  for (milliseconds wait{limits::silent_wait_ms}; !over_; wait = WaitingLine::period) {
    const bool ended = co_await ended_.wait_for(wait);
    if (ended || over_ || (session_ && session_->writing())) co_return;
    waiting_.show(session_ ? session_->waiting_for() : "waiting for " + target_.name());
  }
}

void InferJob::Parts::begin(std::string job_id) {
  output_.note("job_id: " + job_id + "\n");
  session_ = std::make_unique<InferSession>(std::move(job_id), clock_.now());
}

void InferJob::Parts::show(std::string_view text) {
  if (text.empty() || options_.json) return;
  waiting_.clear();
  const auto shown = output_.out_is_terminal ? terminal_safe(text) : std::string(text);
  if (shown.empty()) return;
  last_shown_ = shown.back();
  reader_gone_ = !output_.out(shown);
}

void InferJob::Parts::sum_up() {
  if (!session_ || reader_gone_) return;
  if (options_.json) {
    reader_gone_ = !output_.out(infer_json(session_->figures()) + "\n");
    return;
  }
  if (last_shown_ != '\n') output_.out("\n");
  if (session_->writing() || session_->figures().stop_reason) {
    output_.note(statistics_line(session_->figures()) + "\n");
  }
}

InferOutput standard_output() {
  return {.out = print_text,
          .note = [](std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); },
          .out_is_terminal = terminal_of(1).interactive,
          .note_is_terminal = terminal_of(2).interactive};
}

InferJob::InferJob(asio::io_context& io, InferOptions options, InferOutput output,
                   const Clock& clock)
    : parts_(std::make_shared<Parts>(io, std::move(options), std::move(output), clock)) {}
InferJob::~InferJob() = default;

Task<Result<ExitCode>> InferJob::run() {
  return parts_->run();
}
void InferJob::interrupt(int signal_number) {
  parts_->interrupt(signal_number);
}

namespace {

// Runs the job over the process's own streams; `running` is the job while it runs.
Task<Result<ExitCode>> run_shown(asio::io_context& io, const InferOptions& options,
                                 const Clock& clock, InferJob*& running) {
  InferJob job(io, options, standard_output(), clock);
  running = &job;
  auto ended = co_await job.run();
  running = nullptr;
  co_return ended;
}

}  // namespace

int infer(const InferOptions& options) {
  const SystemClock clock;
  InferJob* running = nullptr;
  const auto body = [&](asio::io_context& io) { return run_shown(io, options, clock, running); };
  const auto ended = net::run_blocking<ExitCode>(body, [&](int signal_number) {
    if (running != nullptr) running->interrupt(signal_number);
  });
  return ended ? *ended : report(ended.error());
}

}  // namespace llorch
