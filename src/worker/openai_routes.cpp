// The OpenAI routes of a worker, and tokenize and detokenize.
#include <array>
#include <functional>
#include <stop_token>
#include <utility>

#include "base/random.h"
#include "protocol/openai_request.h"
#include "protocol/worker_api.h"
#include "worker/decode_body.h"
#include "worker/job_session.h"
#include "worker/openai_setup.h"
#include "worker/routes.h"

namespace llorch {
namespace {

std::int64_t seconds_since_epoch(WallTime time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

OpenAiReplyOptions reply_options(const Call& call, const OpenAiRequest& request) {
  OpenAiReplyOptions options;
  options.route = request.route;
  options.completion_id = request.job.id.value;
  options.created = seconds_since_epoch(call.service.clock().wall());
  options.stream = request.stream;
  options.include_usage = request.include_usage;
  return options;
}

ModelEntry own_model(const Call& call) {
  ModelEntry entry;
  entry.id = call.service.options().model_id;
  entry.created = seconds_since_epoch(call.service.started_wall());
  entry.quantization = call.service.options().quantization;
  entry.optimized = call.service.options().layout;
  entry.state = call.service.card() ? "ready" : "loading";
  if (const auto* card = call.service.card()) {
    entry.architecture = card->architecture;
    entry.context_tokens = card->context_tokens;
    entry.vocabulary_tokens = card->vocabulary_tokens;
    entry.embedding_size = card->embedding_size;
    entry.parameters = card->parameters;
    entry.embeddings_only = card->embeddings_only;
  }
  return entry;
}

// A reply of megabytes is written as JSON off the io thread, which /health shares.
Task<void> reply_encoded(Call& call, const std::function<std::string()>& encode) {
  const std::function<Result<std::string>()> work = [&]() -> Result<std::string> {
    return encode();
  };
  auto body = co_await run_on<std::string>(call.exchange.executor(), call.service.decoder(), work);
  if (!body) co_return co_await reply_error(call, body.error());
  co_await reply_json(call, 200, std::move(*body));
}

}  // namespace

Task<void> generate_route(Call& call, OpenAiRoute route) {
  const auto engine = call.service.accepting();
  if (!engine) co_return co_await refuse_job(call, engine.error());
  const bool chat = route == OpenAiRoute::chat_completions;
  auto request = co_await decode_body<OpenAiRequest>(
      call, chat ? decode_chat_request : decode_completion_request);
  if (!request) co_return co_await refuse_job(call, request.error());
  auto& job = request->job;
  job.id.value = (chat ? "chatcmpl-" : "cmpl-") + random_hex(32);
  job.correlation_id = call.correlation_id;
  call.job_id = job.id.value;
  auto options = reply_options(call, *request);
  auto encoder = co_await prepare_openai(call, **engine, job, std::move(options));
  if (!encoder) co_return co_await refuse_job(call, encoder.error());
  co_await run_job(call, std::move(job), std::move(*encoder));
}

Task<void> embeddings_route(Call& call) {
  const auto engine = call.service.accepting();
  if (!engine) co_return co_await reply_error(call, engine.error());
  const auto side = call.service.admit_side();
  if (!side) co_return co_await reply_error(call, side.error());
  auto request = co_await decode_body<EmbeddingRequest>(call, decode_embedding_request);
  if (!request) co_return co_await reply_error(call, request.error());
  const bool base64 = request->base64;
  std::stop_source left;
  call.exchange.on_disconnect([left]() mutable { left.request_stop(); });
  const std::function<void(Reply<Embeddings>)> ask = [&](Reply<Embeddings> reply) {
    (*engine)->embed(std::move(*request), left.get_token(), std::move(reply));
  };
  const auto made = co_await await_reply<Embeddings>(call.exchange.executor(), ask);
  if (!made) co_return co_await reply_error(call, made.error());
  const std::function<std::string()> encode = [&] {
    return encode_embeddings(made->vectors, base64, call.service.options().model_id,
                             made->prompt_tokens);
  };
  co_await reply_encoded(call, encode);
}

Task<void> models_route(Call& call) {
  const std::array models = {own_model(call)};
  auto body = encode_models(models);
  co_await reply_json(call, 200, std::move(body));
}

Task<void> model_route(Call& call) {
  constexpr std::string_view prefix = "/v1/models/";
  const auto& options = call.service.options();
  // Clients escape the slash of an id such as org/model.
  if (net::percent_decoded(call.exchange.request().path.substr(prefix.size())) !=
      options.model_id) {
    const Error error{.code = Code::model_not_found,
                      .message = "this worker serves " + options.model_id};
    co_return co_await reply_error(call, error);
  }
  auto body = encode_model(own_model(call));
  co_await reply_json(call, 200, std::move(body));
}

Task<void> tokenize_route(Call& call) {
  const auto engine = call.service.accepting();
  if (!engine) co_return co_await reply_error(call, engine.error());
  const auto side = call.service.admit_side();
  if (!side) co_return co_await reply_error(call, side.error());
  auto request = co_await decode_body<TokenizeRequest>(call, decode_tokenize_request);
  if (!request) co_return co_await reply_error(call, request.error());
  const std::function<void(Reply<Tokenized>)> ask = [&](Reply<Tokenized> reply) {
    (*engine)->tokenize(std::move(request->text), request->parse_special, request->add_special,
                        std::move(reply));
  };
  auto made = co_await await_reply<Tokenized>(call.exchange.executor(), ask);
  if (!made) co_return co_await reply_error(call, made.error());
  if (!request->with_pieces) made->pieces.clear();
  const auto context_tokens = (*engine)->card().context_tokens;
  const std::function<std::string()> encode = [&] {
    return encode_tokenized(made->tokens, made->pieces, context_tokens);
  };
  co_await reply_encoded(call, encode);
}

Task<void> detokenize_route(Call& call) {
  const auto engine = call.service.accepting();
  if (!engine) co_return co_await reply_error(call, engine.error());
  const auto side = call.service.admit_side();
  if (!side) co_return co_await reply_error(call, side.error());
  auto request = co_await decode_body<std::vector<Token>>(call, decode_detokenize_request);
  if (!request) co_return co_await reply_error(call, request.error());
  const std::function<void(Reply<std::string>)> ask = [&](Reply<std::string> reply) {
    (*engine)->detokenize(std::move(*request), std::move(reply));
  };
  const auto made = co_await await_reply<std::string>(call.exchange.executor(), ask);
  if (!made) co_return co_await reply_error(call, made.error());
  auto body = encode_detokenized(*made);
  co_await reply_json(call, 200, std::move(body));
}

}  // namespace llorch
