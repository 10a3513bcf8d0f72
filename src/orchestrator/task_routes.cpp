// The routes of tasks but for their events: submit, look, list, cancel, explain.
#include <utility>

#include "base/limits.h"
#include "orchestrator/routes.h"
#include "orchestrator/submission.h"
#include "orchestrator/task_list.h"
#include "orchestrator/texts.h"
#include "protocol/json_text.h"
#include "protocol/worker_api.h"

namespace llorch {
namespace {

Task<void> unknown_job(Call& call, const std::string& id) {
  const Error error{.code = Code::job_not_found, .message = "no job " + id};
  co_await reply_error(call, error);
}

std::string accepted_text(const Orchestrator& service, const JobRecord& job) {
  std::string out;
  JsonObjectWriter row(out);
  row.string("job_id", job.id.value).string("status", "queued");
  const auto view = service.core().job(job.id, service.now_ms());
  row.integer("queue_position", view ? view->queue_position : 0)
      .integer("predicted_start_ms", view ? view->predicted_start_ms : 0)
      .string("events_url", "/v2/tasks/" + job.id.value + "/events")
      .end();
  return out;
}

// A reference to a name: g++ 12 destroys a temporary aggregate in a co_await expression twice.
Task<void> cancel_by_id(Call& call, const JobId& id) {
  const auto job = co_await own_row(call, id);
  if (!job) co_return co_await unknown_job(call, id.value);
  call.job_id = job->id.value;
  call.service.cancel(id, "client");
  std::string body;
  JsonObjectWriter(body).string("status", wire_name(job->status)).string("job_id", id.value).end();
  co_await reply_json(call, 200, std::move(body));
}

// What the caller may see of a list. Errors: forbidden (another tenant was asked for).
Result<JobFilter> narrowed(const Identity& identity, JobFilter filter) {
  if (filter.tenant && !identity.sees(*filter.tenant)) {
    return fail(Code::forbidden, identity.name() + " sees jobs of tenant " + identity.tenant() +
                                     " only: leave tenant out");
  }
  if (!identity.is_admin()) filter.tenant = identity.tenant();
  return filter;
}

constexpr std::string_view key_header = "Idempotency-Key";

// Keys are per tenant. Empty: the request has none.
std::string turn_of(const Call& call, const std::string& tenant) {
  const auto key = call.exchange.request().headers.find(key_header).value_or("");
  return key.empty() ? std::string() : tenant + '\n' + std::string(key);
}

// Answers a request whose Idempotency-Key has begun a task already, or cannot be one.
Task<bool> accepted_before(Call& call, const std::string& tenant, const std::string& body) {
  const auto key = call.exchange.request().headers.find(key_header);
  if (!key || call.service.journal() == nullptr) co_return false;
  constexpr std::size_t key_bytes_max = 256;
  if (key->empty() || key->size() > key_bytes_max) {
    const auto wrong = fail_field({.field = "Idempotency-Key",
                                   .constraint = "1..256 bytes",
                                   .message = "Idempotency-Key: must have 1..256 bytes"});
    co_await reply_error(call, wrong.error());
    co_return true;
  }
  std::string given(*key);
  auto hash = sha256_of(body);
  const auto known =
      co_await call.service.journal()->job_of_key(tenant, std::move(given), std::move(hash));
  if (!known) {
    co_await reply_error(call, known.error());
    co_return true;
  }
  const auto id = known->value_or(JobId{});
  // No co_await in a conditional expression: g++ 12 destroys what it gives twice.
  std::shared_ptr<JobRecord> job;
  if (!id.value.empty()) job = co_await call.service.recall_row(id);
  if (!job) co_return false;
  call.job_id = job->id.value;
  auto reply = accepted_text(call.service, *job);
  co_await reply_json(call, 202, std::move(reply));
  co_return true;
}

}  // namespace

Task<void> submit_task_route(Call& call) {
  if (call.service.draining()) {
    const Error error{.code = Code::draining, .message = "orchestratord is stopping"};
    co_return co_await reply_error(call, error);
  }
  const auto sent = taken_body(call);
  const BodyDecoder::How<TaskRequest> how = decode_task;
  auto task = co_await call.service.decoder().decode<TaskRequest>(sent, how);
  const auto& body = *sent;
  if (!task) co_return co_await reply_error(call, task.error());
  task->model = call.service.model_named(task->model);
  if (const auto allowed = call.identity.rule(*task); !allowed) {
    co_return co_await reply_error(call, allowed.error());
  }
  auto key = turn_of(call, task->tenant);
  const auto turn = co_await call.service.key_turns().take(std::move(key));
  const bool repeated = co_await accepted_before(call, task->tenant, body);
  if (repeated) co_return;
  const auto known = check_model(call.service, call.identity, task->model, "execute");
  if (!known) co_return co_await reply_error(call, known.error());
  const auto quota = call.service.keys().check_quota(call.identity, call.service.now_ms());
  if (!quota) co_return co_await reply_error(call, quota.error());
  auto [job, spec] =
      task_submission(call.service, call.identity, std::move(*task), call.correlation_id);
  call.job_id = job->id.value;
  auto* const journal = call.service.journal();
  if (journal != nullptr) {
    std::string given(call.exchange.request().headers.find(key_header).value_or(""));
    const auto kept = co_await journal->accept(*job, body, std::move(given));
    if (!kept) co_return co_await reply_error(call, kept.error());
  }
  call.service.submit(job, std::move(spec));
  if (!job->admitted) {
    if (journal != nullptr) co_await journal->take_back(job->id);
    co_return co_await reply_error(call, *job->error());
  }
  auto reply = accepted_text(call.service, *job);
  co_await reply_json(call, 202, std::move(reply));
}

Task<void> list_tasks_route(Call& call) {
  auto filter =
      parse_task_query(call.exchange.request().query, unix_ms(call.service.clock().wall()));
  if (filter) filter = narrowed(call.identity, std::move(*filter));
  if (!filter) co_return co_await reply_error(call, filter.error());
  const auto page = co_await task_page(call.service, *filter);
  if (!page) co_return co_await reply_error(call, page.error());
  auto body = jobs_text(call.service, *page);
  co_await reply_json(call, 200, std::move(body));
}

Task<void> task_route(Call& call) {
  const JobId id{call.id};
  const auto job = co_await own_row(call, id);
  if (!job) co_return co_await unknown_job(call, call.id);
  call.job_id = job->id.value;
  auto body = job_text(call.service, *job);
  co_await reply_json(call, 200, std::move(body));
}

Task<void> cancel_task_route(Call& call) {
  const JobId id{call.id};
  co_await cancel_by_id(call, id);
}

Task<void> cancel_route(Call& call) {
  const auto id = decode_cancel(call.exchange.request().body);
  if (!id) co_return co_await reply_error(call, id.error());
  co_await cancel_by_id(call, *id);
}

Task<void> explain_route(Call& call) {
  const JobId id{call.id};
  const auto job = co_await own_row(call, id);
  if (!job) co_return co_await unknown_job(call, call.id);
  call.job_id = job->id.value;
  const auto decisions = co_await call.service.decisions(id);
  auto body = explain_text(call.service, *job, decisions);
  co_await reply_json(call, 200, std::move(body));
}

}  // namespace llorch
