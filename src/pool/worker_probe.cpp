#include "pool/worker_probe.h"

#include <algorithm>

#include "base/limits.h"
#include "base/random.h"
#include "pool/worker_control.h"
#include "protocol/error_body.h"
#include "protocol/execute_request.h"
#include "protocol/job_stream.h"
#include "protocol/sse.h"
#include "protocol/worker_api.h"

namespace llorch {
namespace {

constexpr std::uint64_t trial_tokens = 32;

std::string state_name(const Health& health) {
  if (health.status == Health::Status::draining) return "draining";
  if (health.status == Health::Status::unhealthy) return "unhealthy";
  switch (health.state) {
    case Health::State::loading:
      return "loading";
    case Health::State::idle:
      return "idle";
    case Health::State::busy:
      return "busy";
  }
  return "";
}

// The stream of one trial: text out, figures at the end.
class TrialStream {
 public:
  TrialStream(const PoolContext& context, const std::function<bool(std::string_view)>& print)
      : context_(context), print_(print), begun_(context.clock.now()) {}

  Result<void> take(std::string_view bytes) {
    std::vector<SseEvent> events;
    if (const auto fed = parser_.feed(bytes, events); !fed) return fed;
    for (const auto& event : events) {
      const auto decoded = decode_job_event(event);
      if (!decoded) return fail(decoded.error());
      if (!decoded->has_value()) continue;
      if (const auto taken = take(**decoded); !taken) return taken;
    }
    return {};
  }

  Result<Trial> finish() const {
    if (ended_) return trial_;
    return fail(Code::unreachable, "the stream ended before its last event",
                "llorch-pool worker logs shows why");
  }

 private:
  Result<void> take(const JobStreamEvent& event) {
    if (const auto* error = std::get_if<ErrorEvent>(&event)) return fail(error->error);
    if (const auto* token = std::get_if<TokenEvent>(&event)) {
      const auto now = context_.clock.now();
      if (trial_.tokens_out++ == 0) {
        trial_.ttft_ms = elapsed_ms(begun_, now);
        first_ = now;
      } else if (const double ms = elapsed_ms(first_, now); ms > 0) {
        trial_.tokens_per_second = 1000.0 * static_cast<double>(trial_.tokens_out - 1) / ms;
      }
      return add_text(token->t);
    }
    if (const auto* end = std::get_if<EndEvent>(&event)) {
      trial_.stop_reason = wire_name(end->stop_reason);
      ended_ = true;
      return add_text(end->t);
    }
    return {};
  }

  Result<void> add_text(const std::string& text) {
    trial_.text += text;
    if (text.empty() || print_(text)) return {};
    return fail(Code::cancelled, "nobody reads the answer any more");
  }

  const PoolContext& context_;
  const std::function<bool(std::string_view)>& print_;
  SseParser parser_;
  SteadyTime begun_;
  SteadyTime first_;
  Trial trial_;
  bool ended_ = false;
};

}  // namespace

std::string probe_state(const PoolContext& context, const WorkerRecord& record) {
  const auto page = context.http.get({.url = worker_url(record) + "/health",
                                      .direct = true,
                                      .connect_ms = limits::worker_answer_ms_max,
                                      .total_ms = limits::worker_answer_ms_max},
                                     limits::worker_file_bytes_max);
  if (!page) return "unreachable";
  const auto health = decode_health(page->body);
  // Another program may hold the port of a worker that hangs.
  if (!health || health->worker_id != record.worker_id) return "unreachable";
  return state_name(*health);
}

Result<Trial> try_worker(const PoolContext& context, const WorkerRecord& record,
                         const std::string& prompt,
                         const std::function<bool(std::string_view)>& print) {
  JobRequest job;
  job.id = JobId{"test-" + random_word(10)};
  job.prompt = ChatPrompt{.messages = {{.role = "user", .content = prompt}}};
  job.max_tokens = trial_tokens;
  WebRequest request{.url = worker_url(record) + "/execute",
                     .method = "POST",
                     .headers = {"Content-Type: application/json"},
                     .bearer = context.settings.text("worker.token").value_or(""),
                     .body = encode_execute(job),
                     .direct = true};
  TrialStream stream(context, print);
  long status = 0;
  std::string refusal;
  const auto head = [&](const WebReply& reply) -> Result<void> {
    status = reply.status;
    return {};
  };
  const auto body = [&](std::span<const std::byte> bytes) -> Result<void> {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (status == 200) return stream.take(text);
    refusal.append(text.substr(0, limits::error_bytes_max - refusal.size()));
    return {};
  };
  const auto reply = context.http.fetch(request, head, body);
  if (!reply) {
    Error error = reply.error();
    error.message = record.worker_id + ": " + error.message;
    if (error.next.empty()) error.next = "llorch-pool worker logs " + record.worker_id;
    return fail(std::move(error));
  }
  if (status == 200) return stream.finish();
  Error error = decode_error(static_cast<unsigned>(status), refusal).error;
  error.message = record.worker_id + ": " + error.message;
  if (status == 401) {
    error.next = "set LLORCH_WORKER_TOKEN, or worker.token in llorch.toml, to the worker's";
  }
  return fail(std::move(error));
}

Result<void> show_log(const PoolContext& context, const std::string& worker_id, bool follow,
                      const std::function<bool(std::string_view)>& print) {
  const auto record = find_worker(context, worker_id);
  // The id comes from a command line: only a name in the folder is opened.
  const auto file = context.files.open_beneath(context.root.workers(), worker_id + ".log");
  if (!file) {
    return fail(Code::not_found,
                "worker '" + worker_id + "': no log in " + context.root.workers().string(),
                "llorch-pool worker list");
  }
  std::vector<std::byte> piece(64 * limits::kib);
  for (std::uint64_t at = 0;;) {
    // Asked before reading: what it wrote last is still printed.
    const bool gone = !record || is_gone(context.processes, *record);
    const auto got = (*file)->read_at(at, piece);
    if (!got) return fail(got.error());
    at += *got;
    const std::string_view text(reinterpret_cast<const char*>(piece.data()), *got);
    if (!text.empty() && !print(text)) return {};
    if (*got == piece.size()) continue;
    if (!follow || gone) return {};
    context.wait(200);
  }
}

}  // namespace llorch
