// What tenants have used: the stored jobs, summed.
#include <optional>
#include <string>
#include <utility>

#include "orchestrator/routes.h"
#include "orchestrator/task_query.h"
#include "protocol/json_text.h"

namespace llorch {
namespace {

// From "since=24h" or a time; absent: a day ago. nullopt: not that.
std::optional<std::int64_t> since_in(std::string_view query, std::int64_t now_ms) {
  std::string since = "24h";
  for (auto& [name, value] : query_fields(query)) {
    if (name != "since") return std::nullopt;
    since = std::move(value);
  }
  return since_ms_of(since, now_ms);
}

void append_sums(JsonObjectWriter& row, const StoredUsage& usage) {
  row.integer("jobs", usage.jobs)
      .integer("failed", usage.failed)
      .integer("prompt_tokens", usage.prompt_tokens)
      .integer("cached_tokens", usage.cached_tokens)
      .integer("tokens_out", usage.tokens_out);
}

std::string usage_text(const std::vector<StoredUsage>& rows, WallTime since) {
  StoredUsage total;
  for (const auto& row : rows) {
    total.jobs += row.jobs;
    total.failed += row.failed;
    total.prompt_tokens += row.prompt_tokens;
    total.cached_tokens += row.cached_tokens;
    total.tokens_out += row.tokens_out;
  }
  std::string out;
  JsonObjectWriter body(out);
  body.string("since", rfc3339(since));
  append_json_list(body.key("usage"), rows, [&](const StoredUsage& usage) {
    JsonObjectWriter row(out);
    row.string("tenant", usage.tenant).string("model", usage.model);
    append_sums(row, usage);
    row.end();
  });
  JsonObjectWriter sums(body.key("total"));
  append_sums(sums, total);
  sums.end();
  body.end();
  return out;
}

}  // namespace

Task<void> usage_route(Call& call) {
  const auto since_ms =
      since_in(call.exchange.request().query, unix_ms(call.service.clock().wall()));
  if (!since_ms) {
    const auto wrong =
        fail_field({.field = "since",
                    .constraint = "a time",
                    .message = "since: must be like 24h, 7d or 2026-01-05T09:30:00Z"});
    co_return co_await reply_error(call, wrong.error());
  }
  std::vector<StoredUsage> rows;
  if (auto* const journal = call.service.journal()) {
    auto found = co_await journal->usage(*since_ms);
    if (!found) co_return co_await reply_error(call, found.error());
    rows = std::move(*found);
  }
  auto body = usage_text(rows, wall_time(*since_ms));
  co_await reply_json(call, 200, std::move(body));
}

}  // namespace llorch
