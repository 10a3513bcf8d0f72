#include "orchestrator/submission.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "base/random.h"
#include "console/spelling.h"
#include "protocol/prefix_hash.h"

namespace llorch {
namespace {

constexpr std::int64_t bytes_per_token = 4;  // of common text, until a worker has counted

std::int64_t prompt_bytes(const PromptSource& prompt) {
  if (const auto* const text = std::get_if<std::string>(&prompt)) {
    return static_cast<std::int64_t>(text->size());
  }
  if (const auto* const tokens = std::get_if<std::vector<Token>>(&prompt)) {
    return static_cast<std::int64_t>(tokens->size()) * bytes_per_token;
  }
  std::size_t bytes = 0;
  const auto& chat = std::get<ChatPrompt>(prompt);
  for (const auto& message : chat.messages) {
    bytes += message.role.size() + message.content.size() + message.reasoning_content.size() + 2;
    for (const auto& call : message.tool_calls) bytes += call.arguments_json.size();
  }
  for (const auto& tool : chat.tools)
    bytes += tool.description.size() + tool.parameters_json.size();
  return static_cast<std::int64_t>(bytes);
}

std::int64_t seconds_since_epoch(WallTime time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

std::shared_ptr<JobRecord> new_record(const Orchestrator& service, const Identity& identity,
                                      JobKind kind, std::string id, std::string model,
                                      const std::string& correlation_id) {
  auto job = std::make_shared<JobRecord>(service.executor());
  job->id.value = std::move(id);
  job->kind = kind;
  job->correlation_id = correlation_id;
  job->tenant = identity.tenant();
  job->key_id = identity.key_id();
  job->priority = identity.priority(std::nullopt).value_or(Priority::batch);
  job->model = std::move(model);
  job->accepted_wall = service.clock().wall();
  job->created = seconds_since_epoch(job->accepted_wall);
  return job;
}

// A seed in the client's object, so that every worker draws the same. Last, so that it wins over a
// null: readers keep the last of two members of one name. Shape: body is a JSON object.
void add_seed(std::string& body, std::uint64_t seed) {
  const auto end = body.rfind('}');
  const auto before = body.find_last_not_of(" \t\r\n", end - 1);
  body.insert(end,
              std::string(body[before] == '{' ? "" : ",") + "\"seed\":" + std::to_string(seed));
}

constexpr std::uint64_t seed_max = (std::uint64_t{1} << 53) - 1;  // exact in any JSON reader

}  // namespace

JobSpec spec_of(const JobRecord& job, const JobRequest& request, std::string capability) {
  JobSpec spec;
  spec.id = job.id;
  spec.model = job.model;
  spec.tenant = job.tenant;
  spec.priority = job.priority;
  spec.capability = std::move(capability);
  spec.prompt_bytes = prompt_bytes(request.prompt);
  spec.prompt_tokens_estimate = spec.prompt_bytes / bytes_per_token + 1;
  spec.max_tokens = static_cast<std::int64_t>(std::min<std::uint64_t>(
      request.max_tokens.value_or(0), static_cast<std::uint64_t>(limits::model_context_max)));
  spec.temperature = request.sampling.temperature.value_or(1);
  // A deterministic job takes nothing from a cache.
  if (!request.deterministic) {
    spec.prefix_chain = prefix_chain(job.tenant, job.model, request.prompt);
  }
  return spec;
}

Submission task_submission(const Orchestrator& service, const Identity& identity, TaskRequest task,
                           const std::string& correlation_id) {
  auto job = new_record(service, identity, JobKind::task, time_ordered_uuid(service.clock().wall()),
                        std::move(task.model), correlation_id);
  job->tenant = std::move(task.tenant);
  job->priority = task.batch ? Priority::batch : Priority::interactive;
  if (!task.job.sampling.seed) task.job.sampling.seed = random_u64() & seed_max;
  auto spec = spec_of(*job, task.job, "execute");
  spec.session_id = std::move(task.session_id);
  const auto given = task.deadline_ms.value_or(service.options().job_timeout_ms);
  spec.deadline_at_ms = service.now_ms() + std::min(given, service.options().job_timeout_ms);
  job->max_tokens = spec.max_tokens;
  job->request = std::make_unique<JobRequest>(std::move(task.job));
  return {std::move(job), std::move(spec)};
}

Submission openai_submission(const Orchestrator& service, const Identity& identity,
                             OpenAiRequest request, std::string body,
                             const std::string& correlation_id) {
  const bool chat = request.route == OpenAiRoute::chat_completions;
  auto job = new_record(service, identity, chat ? JobKind::chat : JobKind::completions,
                        (chat ? "chatcmpl-" : "cmpl-") + time_ordered_hex(service.clock().wall()),
                        std::move(request.model), correlation_id);
  job->stream = request.stream;
  if (request.flex) job->priority = Priority::batch;
  auto spec = spec_of(*job, request.job, chat ? "chat" : "completions");
  job->max_tokens = spec.max_tokens;
  job->body = std::move(body);
  job->seed_is_ours = !request.job.sampling.seed;
  if (job->seed_is_ours) add_seed(job->body, random_u64() & seed_max);
  return {std::move(job), std::move(spec)};
}

Submission embedding_submission(const Orchestrator& service, const Identity& identity,
                                const EmbeddingRequest& request, std::string body,
                                const std::string& correlation_id) {
  auto job =
      new_record(service, identity, JobKind::embeddings,
                 "embd-" + time_ordered_hex(service.clock().wall()), request.model, correlation_id);
  job->stream = false;
  JobRequest as_job;
  as_job.max_tokens = 1;
  auto spec = spec_of(*job, as_job, "embeddings");
  for (const auto& input : request.inputs) {
    spec.prompt_bytes += static_cast<std::int64_t>(input.size());
  }
  spec.prompt_tokens_estimate = spec.prompt_bytes / bytes_per_token + 1;
  job->body = std::move(body);
  return {std::move(job), std::move(spec)};
}

Result<void> check_model(const Orchestrator& service, const Identity& identity,
                         const std::string& model, const std::string& capability) {
  if (!identity.may_use(model)) {
    return fail(Code::model_not_found,
                "no model '" + model + "', or " + identity.name() + " may not use it");
  }
  if (service.core().serves(model, capability)) return {};
  std::set<std::string> known;
  for (const auto& [id, worker] : service.core().workers()) {
    if (identity.may_use(worker.registration.model)) known.insert(worker.registration.model);
  }
  if (known.contains(model) && capability == "execute") {
    return fail(Code::invalid_request,
                "model " + model + " is served by an external server alone, which takes no tasks",
                "send it to /v1/chat/completions or /v1/completions");
  }
  if (known.contains(model)) {
    return fail(Code::invalid_request, "model " + model + " does not do " + capability);
  }
  if (known.empty()) {
    auto none = fail(Code::no_worker, "no worker is registered",
                     "llorch-pool worker spawn cpu --model smollm2 --orchestrator-url URL");
    none.error().retry_after_ms = service.core().worker_expected_ms(model, service.now_ms());
    return none;
  }
  for (const auto& [alias, target] : service.options().aliases) {
    if (known.contains(target)) known.insert(alias);
  }
  std::string message = "no worker serves model '" + model + "'";
  const auto near = nearest_word(model, {known.begin(), known.end()});
  if (!near.empty()) message += "; meant " + near + "?";
  message += " Served: ";
  bool first = true;
  for (const auto& name : known) message += (std::exchange(first, false) ? "" : ", ") + name;
  return fail(Code::model_not_found, std::move(message));
}

}  // namespace llorch
