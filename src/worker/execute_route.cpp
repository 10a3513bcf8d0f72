// POST /execute: a job of ours, or an OpenAI request that the orchestrator relays.
#include <utility>

#include "protocol/execute_request.h"
#include "worker/decode_body.h"
#include "worker/generation.h"
#include "worker/job_session.h"
#include "worker/openai_setup.h"
#include "worker/routes.h"

namespace llorch {
namespace {

OpenAiReplyOptions relay_options(const Relay& relay) {
  OpenAiReplyOptions options;
  options.route = relay.route;
  options.completion_id = relay.completion_id;
  options.created = relay.created;
  options.stream = relay.stream;
  options.include_usage = relay.include_usage;
  options.relay = true;
  return options;
}

Task<Result<std::unique_ptr<JobEncoder>>> prepare(const Call& call, Engine& engine,
                                                  ExecuteRequest& request) {
  if (request.relay) {
    auto options = relay_options(*request.relay);
    co_return co_await prepare_openai(call, engine, request.job, std::move(options));
  }
  if (const auto able = check_generates(engine.card()); !able) co_return fail(able.error());
  fill_execute_sampling(request.job.sampling);
  StreamNames names{request.job.id.value, call.service.options().model_id, call.correlation_id};
  const auto resumed = static_cast<std::int64_t>(request.job.resume_tokens.size());
  co_return make_execute_encoder(std::move(names), resumed);
}

}  // namespace

Task<void> execute_route(Call& call) {
  const auto engine = call.service.accepting();
  if (!engine) co_return co_await refuse_job(call, engine.error());
  auto request = co_await decode_body<ExecuteRequest>(call, decode_execute);
  if (!request) co_return co_await refuse_job(call, request.error());
  call.job_id = request->job.id.value;
  request->job.correlation_id = call.correlation_id;
  auto encoder = co_await prepare(call, **engine, *request);
  if (!encoder) co_return co_await refuse_job(call, encoder.error());
  co_await run_job(call, std::move(request->job), std::move(*encoder));
}

}  // namespace llorch
