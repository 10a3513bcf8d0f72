#include "policy/rhai_script.h"

#include <cassert>
#include <chrono>
#include <cstdlib>
#include <llorch_rhai.h>
#include <utility>

#include "base/thread_time.h"

namespace llorch {
namespace {

using std::chrono::steady_clock;

// The end of a script's time. Wall time is cheap to ask for; only when that is over, processor time
// decides: a thread that the kernel set aside for a while must not cost a good script its answer.
class Deadline {
 public:
  // A little less than allowed, for the operation that runs while the time passes.
  explicit Deadline(std::int64_t time_ms)
      : Deadline(std::chrono::nanoseconds(std::chrono::milliseconds(time_ms)) * 15 / 16) {}

  bool is_over() const noexcept { return steady_clock::now() >= end_ && thread_time() >= cpu_end_; }

 private:
  explicit Deadline(std::chrono::nanoseconds allowed)
      : end_(steady_clock::now() + allowed), cpu_end_(thread_time() + allowed) {}

  steady_clock::time_point end_;
  std::chrono::nanoseconds cpu_end_;
};

// What a running script may ask us.
struct Call {
  Deadline deadline;
  std::span<const PolicyWorker> workers = {};
  const PlacementTurns* turns = nullptr;
};

bool call_is_over(void* context) noexcept {
  return static_cast<const Call*>(context)->deadline.is_over();
}

std::uint64_t call_last_turn(void* context, std::size_t worker) noexcept {
  const auto& call = *static_cast<const Call*>(context);
  return call.turns != nullptr && worker < call.workers.size()
             ? call.turns->of(call.workers[worker].id)
             : 0;
}

llorch_rhai_host host_of(Call& call, std::int64_t now_ms) {
  return {.context = &call, .now_ms = now_ms, .is_over = call_is_over, .last_turn = call_last_turn};
}

llorch_rhai_text text_of(std::string_view text) {
  return {.bytes = text.data(), .length = text.size()};
}

std::string string_of(const llorch_rhai_text& text) {
  return text.length == 0 ? std::string() : std::string(text.bytes, text.length);
}

llorch_rhai_job job_of(const PolicyJob& job) {
  return {.id = text_of(job.id),
          .model = text_of(job.model),
          .priority = text_of(wire_name(job.priority)),
          .tenant = text_of(job.tenant),
          .session_id = text_of(job.session_id),
          .prompt_tokens_estimate = job.prompt_tokens_estimate,
          .max_tokens = job.max_tokens,
          .age_ms = job.age_ms,
          .attempt = job.attempt,
          .temperature = job.temperature};
}

llorch_rhai_worker worker_of(const PolicyWorker& worker) {
  return {.id = text_of(worker.id),
          .host = text_of(worker.host),
          .model = text_of(worker.model),
          .backend = text_of(worker.backend),
          .status = text_of(worker.status),
          .slots_total = worker.slots_total,
          .slots_free = worker.slots_free,
          .queue_depth = worker.queue_depth,
          .cached_tokens = worker.cached_tokens,
          .memory_free_bytes = worker.memory_free_bytes,
          .cost_ms = worker.cost_ms,
          .prefill_tokens_per_second = worker.prefill_tokens_per_second,
          .decode_tokens_per_second = worker.decode_tokens_per_second};
}

llorch_rhai_limits limits_of(const ScriptLimits& wanted) {
  return {.operations = wanted.operations,
          .memory_bytes = limits::policy_memory_bytes_max,
          .string_bytes = limits::policy_string_bytes_max,
          .elements = limits::policy_elements_max,
          .call_depth = limits::policy_call_depth_max,
          .expression_depth = limits::policy_expression_depth_max,
          .variables = limits::policy_variables_max,
          .functions = limits::policy_functions_max,
          .log_lines = limits::policy_log_lines_max,
          .log_line_bytes = limits::policy_log_line_bytes_max,
          .reason_bytes = limits::policy_reason_bytes_max};
}

PolicyErrorKind kind_of(std::uint32_t error) {
  switch (error) {
    case LLORCH_RHAI_SYNTAX:
      return PolicyErrorKind::syntax;
    case LLORCH_RHAI_THROWN:
      return PolicyErrorKind::thrown;
    case LLORCH_RHAI_OPERATIONS:
      return PolicyErrorKind::operations;
    case LLORCH_RHAI_TIME:
      return PolicyErrorKind::time;
    case LLORCH_RHAI_SIZE:
      return PolicyErrorKind::size;
    case LLORCH_RHAI_DEPTH:
      return PolicyErrorKind::depth;
    case LLORCH_RHAI_NONSENSE:
      return PolicyErrorKind::nonsense;
    case LLORCH_RHAI_PANIC:
      return PolicyErrorKind::panic;
    default:
      return PolicyErrorKind::runtime;
  }
}

ScriptFault fault_of(const llorch_rhai_answer& answer) {
  return {.kind = kind_of(answer.error),
          .message = string_of(answer.text),
          .line = answer.line,
          .column = answer.column};
}

std::vector<ScriptLogLine> log_of(const llorch_rhai_answer& answer) {
  std::vector<ScriptLogLine> lines;
  for (const auto& line : std::span(answer.log, answer.log_count)) {
    lines.push_back({.level = line.level, .text = string_of(line.text)});
  }
  return lines;
}

ScriptAnswer::Kind answer_kind(std::uint32_t kind) {
  switch (kind) {
    case LLORCH_RHAI_WORKER:
      return ScriptAnswer::Kind::worker;
    case LLORCH_RHAI_WAIT:
      return ScriptAnswer::Kind::wait;
    case LLORCH_RHAI_REJECT:
      return ScriptAnswer::Kind::reject;
    case LLORCH_RHAI_YES:
      return ScriptAnswer::Kind::yes;
    case LLORCH_RHAI_NO:
      return ScriptAnswer::Kind::no;
    default:
      return ScriptAnswer::Kind::built_in;
  }
}

ScriptOutcome<ScriptAnswer> ask(llorch_rhai_script* script, const llorch_rhai_question& question) {
  llorch_rhai_answer answer{};
  llorch_rhai_call(script, &question, &answer);
  if (answer.kind == LLORCH_RHAI_FAILED) {
    return {.value = std::unexpected(fault_of(answer)), .log = log_of(answer)};
  }
  return {.value = ScriptAnswer{.kind = answer_kind(answer.kind),
                                .worker = static_cast<std::size_t>(answer.worker),
                                .reason = string_of(answer.text),
                                .line = answer.line},
          .log = log_of(answer)};
}

// A shim of another version would read our structs wrongly: that is a broken build.
void check_shim() {
  static const char* const version = llorch_rhai_version(
      LLORCH_RHAI_ABI, sizeof(llorch_rhai_job), sizeof(llorch_rhai_worker),
      sizeof(llorch_rhai_limits), sizeof(llorch_rhai_question), sizeof(llorch_rhai_answer));
  if (version == nullptr) std::abort();
}

}  // namespace

std::string_view wire_name(PolicyErrorKind kind) {
  switch (kind) {
    case PolicyErrorKind::syntax:
      return "syntax";
    case PolicyErrorKind::runtime:
      return "runtime";
    case PolicyErrorKind::thrown:
      return "thrown";
    case PolicyErrorKind::operations:
      return "operations";
    case PolicyErrorKind::time:
      return "time";
    case PolicyErrorKind::size:
      return "size";
    case PolicyErrorKind::depth:
      return "depth";
    case PolicyErrorKind::nonsense:
      return "nonsense";
    case PolicyErrorKind::panic:
      return "panic";
  }
  return "runtime";
}

bool is_limit(PolicyErrorKind kind) {
  return kind == PolicyErrorKind::operations || kind == PolicyErrorKind::time ||
         kind == PolicyErrorKind::size || kind == PolicyErrorKind::depth;
}

struct RhaiScript::Compiled {
  explicit Compiled(llorch_rhai_script* made, std::int64_t time) : script(made), time_ms(time) {}
  ~Compiled() { llorch_rhai_free(script); }
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;

  llorch_rhai_script* script;
  std::int64_t time_ms;
  std::vector<llorch_rhai_worker> workers;  // kept: one allocation fewer per decision
};

void RhaiScript::Release::operator()(Compiled* compiled) const {
  delete compiled;
}

ScriptOutcome<RhaiScript> RhaiScript::compile(std::string_view source, const ScriptLimits& wanted,
                                              std::int64_t now_ms) {
  check_shim();
  if (source.size() > limits::policy_source_bytes_max) {
    const auto bytes = std::to_string(limits::policy_source_bytes_max);
    return {.value = std::unexpected(ScriptFault{.kind = PolicyErrorKind::size,
                                                 .message = "more than " + bytes + " bytes"}),
            .log = {}};
  }
  const auto limits = limits_of(wanted);
  Call call{.deadline = Deadline(limits::policy_load_ms)};
  const auto host = host_of(call, now_ms);
  llorch_rhai_answer answer{};
  auto* const script = llorch_rhai_compile(text_of(source), &limits, &host, &answer);
  auto log = log_of(answer);
  if (script == nullptr) {
    return {.value = std::unexpected(fault_of(answer)), .log = std::move(log)};
  }
  const HookSet hooks{.schedule_job = (answer.hooks & LLORCH_RHAI_SCHEDULE_JOB) != 0,
                      .should_admit = (answer.hooks & LLORCH_RHAI_SHOULD_ADMIT) != 0,
                      .should_retry = (answer.hooks & LLORCH_RHAI_SHOULD_RETRY) != 0};
  std::unique_ptr<Compiled, Release> compiled(new Compiled(script, wanted.time_ms));
  return {.value = RhaiScript(std::move(compiled), hooks), .log = std::move(log)};
}

ScriptOutcome<ScriptAnswer> RhaiScript::schedule_job(const PolicyJob& job,
                                                     std::span<const PolicyWorker> workers,
                                                     const PlacementTurns& turns,
                                                     std::int64_t now_ms) {
  assert(hooks_.schedule_job);
  auto& offered = compiled_->workers;
  offered.clear();
  for (const auto& worker : workers) offered.push_back(worker_of(worker));
  const auto given = job_of(job);
  Call call{.deadline = Deadline(compiled_->time_ms), .workers = workers, .turns = &turns};
  llorch_rhai_question question{};
  question.hook = LLORCH_RHAI_SCHEDULE_JOB;
  question.job = &given;
  question.workers = offered.data();
  question.workers_count = offered.size();
  question.host = host_of(call, now_ms);
  return ask(compiled_->script, question);
}

ScriptOutcome<ScriptAnswer> RhaiScript::should_admit(const PolicyJob& job, std::int64_t queue_depth,
                                                     std::int64_t now_ms) {
  assert(hooks_.should_admit);
  const auto given = job_of(job);
  Call call{.deadline = Deadline(compiled_->time_ms)};
  llorch_rhai_question question{};
  question.hook = LLORCH_RHAI_SHOULD_ADMIT;
  question.queue_depth = queue_depth;
  question.job = &given;
  question.host = host_of(call, now_ms);
  return ask(compiled_->script, question);
}

ScriptOutcome<ScriptAnswer> RhaiScript::should_retry(const PolicyJob& job, std::uint32_t attempt,
                                                     const PolicyError& error,
                                                     std::int64_t now_ms) {
  assert(hooks_.should_retry);
  const auto given = job_of(job);
  Call call{.deadline = Deadline(compiled_->time_ms)};
  llorch_rhai_question question{};
  question.hook = LLORCH_RHAI_SHOULD_RETRY;
  question.attempt = attempt;
  question.job = &given;
  question.error_kind = text_of(error.kind);
  question.error_code = text_of(error.code);
  question.error_message = text_of(error.message);
  question.host = host_of(call, now_ms);
  return ask(compiled_->script, question);
}

}  // namespace llorch
