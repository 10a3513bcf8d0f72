#include "orchestrator/call.h"

#include <utility>

namespace llorch {

Task<std::shared_ptr<JobRecord>> own_job(Call& call, const JobId& id) {
  auto job = co_await call.service.recall(id);
  if (job && !call.identity.sees(job->tenant)) job = nullptr;
  co_return job;
}

Task<std::shared_ptr<JobRecord>> own_row(Call& call, const JobId& id) {
  auto job = co_await call.service.recall_row(id);
  if (job && !call.identity.sees(job->tenant)) job = nullptr;
  co_return job;
}

net::Headers with_shared(const Call& call, net::Headers headers) {
  for (const auto& [name, value] : call.shared_headers) headers.add(name, value);
  return headers;
}

std::shared_ptr<std::string> taken_body(Call& call) {
  return std::make_shared<std::string>(std::exchange(call.exchange.request().body, std::string()));
}

Task<void> reply_with(const Call& call, net::HttpResponse response) {
  response.headers = with_shared(call, std::move(response.headers));
  // The client may be gone by then: what becomes of the write is the server's matter.
  const auto sent = co_await call.exchange.reply(std::move(response));
  static_cast<void>(sent);
}

Task<void> reply_json(const Call& call, unsigned status, std::string body) {
  net::HttpResponse response;
  response.status = status;
  response.headers = reply_headers("application/json", call.correlation_id, call.job_id);
  response.body = std::move(body);
  co_await reply_with(call, std::move(response));
}

Task<void> reply_error(const Call& call, const Error& error) {
  auto response = error_response(error, call.correlation_id, call.job_id, call.errors);
  co_await reply_with(call, std::move(response));
}

}  // namespace llorch
