#include "remote/infer_target.h"

#include <fmt/format.h>
#include <utility>

namespace llorch {
namespace {

Result<net::Url> base_url(std::string_view what, std::string_view text) {
  const char* const example = what == "--worker"
                                  ? "llorch infer --worker localhost:8080 --prompt \"Hello\""
                                  : "--orchestrator-url http://127.0.0.1:8080";
  const bool bare = text.find("://") == text.npos;
  const auto colon = text.rfind(':');
  if (bare && (colon == text.npos || text.find(']', colon) != text.npos)) {
    return fail(Code::invalid_request, fmt::format("{} '{}': want HOST:PORT", what, text), example);
  }
  auto url = net::parse_url(bare ? fmt::format("http://{}", text) : std::string(text));
  if (!url) {
    return fail(url.error().code, fmt::format("{} '{}': {}", what, text, url.error().message),
                example);
  }
  if (url->target != "/") {
    return fail(Code::invalid_request, fmt::format("{} '{}': want no path", what, text), example);
  }
  return url;
}

std::string next_step(const Error& error, const InferTarget& target) {
  const bool worker = target.kind == InferTarget::Kind::worker;
  switch (error.code) {
    case Code::unreachable:
      return worker ? "llorch-pool worker list (or start one: llorch-pool worker spawn cpu --model "
                      "smollm2)"
                    : "name a worker: " + infer_on_worker("HOST:PORT");
    case Code::unauthorized:
    case Code::forbidden:
      return worker
                 ? "set LLORCH_WORKER_TOKEN, or worker.token in llorch.toml, to the worker's token"
                 : "set LLORCH_API_TOKEN, or api_token in llorch.toml, to a key of the "
                   "orchestrator";
    case Code::queue_full:
      return fmt::format("try again in {} s", (error.retry_after_ms.value_or(1000) + 999) / 1000);
    case Code::draining:
    case Code::timeout:
      return fmt::format("{}://{}/ready tells its state", target.base.scheme,
                         net::authority_of(target.base));
    case Code::context_length_exceeded:
      return "shorten the prompt, or start the worker with a larger --ctx-tokens";
    default:
      return {};
  }
}

}  // namespace

net::Url InferTarget::at(std::string path) const {
  auto url = base;
  url.target = std::move(path);
  return url;
}

net::HttpRequest InferTarget::request(std::string method, std::string body) const {
  net::HttpRequest request;
  request.method = std::move(method);
  request.body = std::move(body);
  if (!token.empty()) request.headers.set("Authorization", "Bearer " + token);
  if (!request.body.empty()) request.headers.set("Content-Type", "application/json");
  return request;
}

std::string InferTarget::name() const {
  const auto authority = net::authority_of(base);
  return kind == Kind::worker ? "worker " + authority
                              : "orchestratord " + base.scheme + "://" + authority;
}

Result<InferTarget> infer_target(const InferOptions& options) {
  InferTarget target;
  const bool worker = !options.worker.empty();
  target.kind = worker ? InferTarget::Kind::worker : InferTarget::Kind::orchestrator;
  auto base = worker ? base_url("--worker", options.worker)
                     : base_url("--orchestrator-url", options.orchestrator_url);
  if (!base) return fail(base.error());
  target.base = std::move(*base);
  target.token = worker ? options.worker_token : options.api_token;
  if (!net::is_header_value(target.token)) {
    return fail(Code::invalid_request,
                fmt::format("{}: holds characters that no HTTP header can carry",
                            worker ? "LLORCH_WORKER_TOKEN" : "LLORCH_API_TOKEN"),
                "give it the token alone, without line breaks");
  }
  return target;
}

Error explain(Error error, const InferTarget& target) {
  const auto authority = net::authority_of(target.base) + ": ";  // net names the peer as well
  if (error.message.starts_with(authority)) error.message.erase(0, authority.size());
  error.message = target.name() + ": " + error.message;
  if (error.next.empty()) error.next = next_step(error, target);
  return error;
}

std::string infer_on_worker(const std::string& authority) {
  return "llorch infer --worker " + authority + " --prompt …";
}

}  // namespace llorch
