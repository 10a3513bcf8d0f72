// POST /v2/policy/replay?since=24h&limit=N: what the script in the body would have decided.
#include <charconv>
#include <utility>

#include "base/limits.h"
#include "orchestrator/policy_replay.h"
#include "orchestrator/routes.h"
#include "orchestrator/task_query.h"
#include "protocol/field_reader.h"

namespace llorch {
namespace {

Result<ReplayRequest> replay_request(const Orchestrator& service, std::string_view query) {
  const auto now_ms = unix_ms(service.clock().wall());
  constexpr std::int64_t day_ms = 86'400'000;
  ReplayRequest request{.script = {},
                        .since_ms = now_ms - day_ms,
                        .decisions_max = limits::replay_decisions,
                        .placement = service.options().placement,
                        .limits = service.options().policy_limits};
  Violations violations;
  for (const auto& [name, value] : query_fields(query)) {
    if (name == "since") {
      const auto since = since_ms_of(value, now_ms);
      request.since_ms = since.value_or(0);
      if (!since) {
        violations.add(name, "a time", "since: must be like 24h, 7d or 2026-01-05T09:30:00Z");
      }
    } else if (name == "limit") {
      const char* const end = value.data() + value.size();
      const auto [stop, status] = std::from_chars(value.data(), end, request.decisions_max);
      const bool good = status == std::errc{} && stop == end && request.decisions_max > 0 &&
                        request.decisions_max <= limits::replay_decisions_max;
      if (!good) violations.add(name, "1..100000", "limit: must be 1..100000");
    } else {
      violations.add(name, "known", name + ": is not known; since and limit are");
    }
  }
  if (!violations.empty()) return fail(std::move(violations).error());
  return request;
}

}  // namespace

Task<void> replay_policy_route(Call& call) {
  auto request = replay_request(call.service, call.exchange.request().query);
  if (!request) co_return co_await reply_error(call, request.error());
  request->script = std::exchange(call.exchange.request().body, std::string());
  auto& replays = call.service.replays();
  call.exchange.on_disconnect([&replays] { replays.abandon(); });
  const auto report = co_await replays.run(*request);
  if (!report) co_return co_await reply_error(call, report.error());
  auto body = replay_text(*report, *request);
  co_await reply_json(call, 200, std::move(body));
}

}  // namespace llorch
