#include "worker/openai_setup.h"

#include <utility>

#include "net/await_reply.h"
#include "worker/generation.h"

namespace llorch {
namespace {

// The text of the prompt, for completions with `echo`. Errors: invalid_request (a token id).
Task<Result<std::string>> echo_text(const Call& call, Engine& engine, const JobRequest& job) {
  if (!job.echo) co_return std::string{};
  if (const auto* text = std::get_if<std::string>(&job.prompt)) co_return *text;
  const auto* tokens = std::get_if<std::vector<Token>>(&job.prompt);
  if (!tokens) co_return std::string{};
  const std::function<void(Reply<std::string>)> ask = [&engine, tokens](Reply<std::string> reply) {
    engine.detokenize(*tokens, std::move(reply));
  };
  auto text = co_await await_reply<std::string>(call.exchange.executor(), ask);
  if (!text) {
    for (auto& violation : text.error().violations) violation.field = "prompt";
  }
  co_return text;
}

}  // namespace

Task<Result<std::unique_ptr<JobEncoder>>> prepare_openai(const Call& call, Engine& engine,
                                                         JobRequest& job,
                                                         OpenAiReplyOptions options) {
  const auto& card = engine.card();
  if (const auto able = check_generates(card); !able) co_return fail(able.error());
  auto echoed = co_await echo_text(call, engine, job);
  if (!echoed) co_return fail(echoed.error());
  fill_openai_sampling(job.sampling, call.service.options().sampling, card.sampling);
  options.model = call.service.options().model_id;
  options.system_fingerprint = "fp_" + card.tokenizer_hash;
  options.echo_text = std::move(*echoed);
  options.logprobs = job.top_logprobs.has_value();
  options.parse_chat = job.parse_chat;
  options.resumed = static_cast<std::int64_t>(job.resume_tokens.size());
  options.correlation_id = call.correlation_id;
  StreamNames names{job.id.value, options.model, call.correlation_id};
  co_return make_openai_encoder(std::move(names), std::move(options));
}

}  // namespace llorch
