// Routes that answer from snapshots, whatever the engine does: health, ready, metrics, cancel.
#include "protocol/metrics_text.h"
#include "protocol/worker_api.h"
#include "worker/routes.h"

namespace llorch {

Task<void> health_route(Call& call) {
  co_await reply_json(call, 200, encode(call.service.health()));
}

Task<void> ready_route(Call& call) {
  const auto readiness = call.service.readiness();
  co_await reply_json(call, readiness.ready ? 200 : 503, encode(readiness));
}

Task<void> metrics_route(Call& call) {
  co_await reply_text(call, MetricsText::content_type, call.service.metrics());
}

Task<void> cancel_route(Call& call) {
  const auto id = decode_cancel(call.exchange.request().body);
  if (!id) co_return co_await reply_error(call, id.error());
  call.job_id = id->value;
  const auto cancelled = call.service.jobs().cancel(*id);
  if (!cancelled) co_return co_await reply_error(call, cancelled.error());
  co_await reply_json(call, 200, encode_cancelled(*id));
}

Task<void> shutdown_route(Call& call) {
  co_await reply_json(call, 202, R"({"status":"draining"})");
  call.service.request_shutdown();  // after the reply: while loading it ends the process at once
}

}  // namespace llorch
