#include "worker/registrar.h"

#include <boost/asio/io_context.hpp>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "base/random.h"
#include "base/version.h"
#include "protocol/worker_api.h"

namespace llorch {
namespace {

using std::chrono::milliseconds;

net::ClientOptions client_options() {
  net::ClientOptions options;
  options.response_bytes_max = limits::orchestrator_reply_bytes_max;
  return options;
}

// Doubles up to the bound, with jitter so that a fleet does not come back in step.
milliseconds next_wait(milliseconds wait) {
  const auto doubled = std::min<std::int64_t>(wait.count() * 2, limits::register_backoff_ms_max);
  const auto jitter = static_cast<std::int64_t>(random_u64() % 100);
  return milliseconds(doubled + doubled * jitter / 1'000);
}

std::vector<std::string> capabilities(const ModelCard& card) {
  if (card.embeddings_only) return {"embeddings"};
  return {"execute", "chat",     "completions", "embeddings",    "tools",
          "grammar", "logprobs", "resume",      "deterministic", "openai"};
}

}  // namespace

Registrar::Registrar(asio::io_context& io, Service& service, net::Url url, std::uint16_t port)
    : service_(service),
      url_(std::move(url)),
      port_(port),
      instance_id_(random_uuid()),
      client_(io, client_options()),
      stop_(io.get_executor()),
      returned_(io.get_executor()) {
  while (url_.target.ends_with('/')) url_.target.pop_back();
}

void Registrar::stop() {
  stopped_ = true;
  stop_.ring();
}

Task<void> Registrar::run() {
  constexpr milliseconds first_wait{250};
  auto wait = first_wait;
  running_ = true;
  while (!stopped_) {
    const auto begun = service_.clock().now();
    const auto outcome = registered_ ? co_await beat() : co_await register_once();
    if (outcome == Outcome::forgotten) continue;  // register at once
    milliseconds pause = wait;
    if (outcome == Outcome::taken) {
      wait = first_wait;
      const auto spent = std::chrono::duration_cast<milliseconds>(service_.clock().now() - begun);
      pause = std::max(milliseconds(limits::heartbeat_ms) - spent, milliseconds(1));
    } else {
      wait = next_wait(wait);
    }
    const bool stopping = !stopped_ && co_await stop_.wait_for(pause);
    if (stopping) break;
  }
  running_ = false;
  returned_.ring();
}

Task<Registrar::Outcome> Registrar::register_once() {
  std::string reply;
  const auto outcome = co_await send("POST", "/workers/register", registration_body(), reply);
  // A registry that answers 404 is not an orchestrator: wait as for one that refuses.
  if (outcome == Outcome::forgotten) co_return Outcome::refused;
  registered_ = outcome == Outcome::taken;
  if (registered_) service_.cache().forget_peer();
  co_return outcome;
}

Task<Registrar::Outcome> Registrar::beat() {
  const auto load = service_.load();
  const auto change = service_.cache().pending();
  Heartbeat beat;
  beat.slots_busy = load.slots_busy;
  beat.queue_depth = load.queue_depth;
  for (const auto& job : load.jobs) {
    beat.jobs.push_back({job.id.value, job.prompt_done, job.tokens_out});
  }
  beat.prefill_tokens_per_second = load.prefill_tokens_per_second;
  beat.decode_tokens_per_second = load.decode_tokens_per_second;
  beat.memory_free_bytes = load.memory_free_bytes;
  beat.cache_version = change.version;
  beat.cache_added = change.added;
  beat.cache_removed = change.removed;
  std::string reply;
  auto path = "/workers/" + service_.options().worker_id + "/heartbeat";
  const auto outcome = co_await send("POST", std::move(path), encode(beat), reply);
  if (outcome == Outcome::forgotten) registered_ = false;
  if (outcome != Outcome::taken) co_return outcome;
  service_.cache().taken(change);
  if (decode_heartbeat_resync(reply).value_or(false)) service_.cache().forget_peer();
  co_return outcome;
}

Task<void> Registrar::deregister() {
  constexpr milliseconds patience{limits::deregister_wait_ms};
  const bool returned = !running_ || co_await returned_.wait_for(patience);
  if (!returned || !registered_) co_return;
  registered_ = false;
  auto url = url_;
  url.target += "/v2/workers/" + service_.options().worker_id;
  net::HttpRequest request;
  request.method = "DELETE";
  if (!service_.options().api_token.empty()) {
    request.headers.add("Authorization", "Bearer " + service_.options().api_token);
  }
  const auto reply = co_await client_.fetch(std::move(url), std::move(request), patience);
  log_event(LogLevel::info, "worker", "deregistered",
            {{"worker_id", service_.options().worker_id},
             {"status", reply ? static_cast<std::int64_t>(reply->status) : 0}});
}

Task<Registrar::Outcome> Registrar::send(std::string method, std::string path, std::string body,
                                         std::string& reply) {
  auto url = url_;
  url.target += path;
  net::HttpRequest request;
  request.method = std::move(method);
  request.headers.add("Content-Type", "application/json");
  request.headers.add("X-Correlation-Id", random_uuid());
  if (!service_.options().api_token.empty()) {
    request.headers.add("Authorization", "Bearer " + service_.options().api_token);
  }
  request.body = std::move(body);
  auto answer = co_await client_.fetch(std::move(url), std::move(request),
                                       milliseconds(limits::heartbeat_wait_ms));
  auto outcome = Outcome::unreachable;
  std::string detail;
  if (!answer) {
    detail = answer.error().message;
  } else {
    detail = "status " + std::to_string(answer->status);
    const bool taken = answer->status >= 200 && answer->status < 300;
    outcome = taken                   ? Outcome::taken
              : answer->status == 404 ? Outcome::forgotten
                                      : Outcome::refused;
    reply = std::move(answer->body);
  }
  note(outcome, detail);
  co_return outcome;
}

void Registrar::note(Outcome outcome, std::string_view detail) {
  if (std::exchange(last_, outcome) == outcome) return;
  const bool taken = outcome == Outcome::taken;
  log_event(taken ? LogLevel::info : LogLevel::warn, "worker",
            taken ? "orchestrator_answers" : "orchestrator_fails",
            {{"worker_id", service_.options().worker_id},
             {"orchestrator", net::authority_of(url_)},
             {"detail", detail}});
}

std::string Registrar::registration_body() const {
  const auto& options = service_.options();
  const auto& card = *service_.card();
  Registration registration;
  registration.worker_id = options.worker_id;
  registration.host = options.advertise.empty() ? options.host : options.advertise;
  registration.port = port_;
  registration.pool_host = options.pool_host;
  registration.model = options.model_id;
  registration.backend = options.engine.backend;
  registration.gpu_id = options.engine.gpu.value_or(-1);
  registration.slots_total = card.slots_total;
  registration.context_tokens = card.context_tokens;
  registration.tokenizer_hash = card.tokenizer_hash;
  registration.memory_bytes = card.memory_bytes;
  registration.capabilities = capabilities(card);
  registration.version = std::string(version());
  registration.instance_id = instance_id_;
  return encode(registration);
}

}  // namespace llorch
