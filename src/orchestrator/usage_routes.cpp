// What tenants have used: the stored jobs, summed.
#include <charconv>
#include <optional>
#include <string>
#include <utility>

#include "base/limits.h"
#include "orchestrator/routes.h"
#include "protocol/json_text.h"

namespace llorch {
namespace {

// "since=24h", s, m, h and d; absent: a day. nullopt: not that, or longer than jobs are kept.
std::optional<std::int64_t> since_ms_of(std::string_view query) {
  constexpr std::int64_t second = 1'000, day = 86'400 * second;
  if (query.empty()) return day;
  if (!query.starts_with("since=")) return std::nullopt;
  const auto text = query.substr(6);
  std::int64_t count = 0;
  const auto [stop, status] = std::from_chars(text.data(), text.data() + text.size(), count);
  const std::string_view unit(stop, text.data() + text.size());
  if (status != std::errc{} || count < 1 || count > limits::jobs_kept_ms) return std::nullopt;
  std::int64_t unit_ms = 0;
  if (unit == "s") unit_ms = second;
  if (unit == "m") unit_ms = 60 * second;
  if (unit == "h") unit_ms = 3'600 * second;
  if (unit == "d") unit_ms = day;
  if (unit_ms == 0 || count > limits::jobs_kept_ms / unit_ms) return std::nullopt;
  return count * unit_ms;
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
  const auto back_ms = since_ms_of(call.exchange.request().query);
  if (!back_ms) {
    const auto wrong = fail_field({.field = "since",
                                   .constraint = "1s..7d",
                                   .message = "since: must be a time back such as 90m, 24h or 7d"});
    co_return co_await reply_error(call, wrong.error());
  }
  const auto since = call.service.clock().wall() - std::chrono::milliseconds(*back_ms);
  std::vector<StoredUsage> rows;
  if (auto* const journal = call.service.journal()) {
    auto found = co_await journal->usage(wall_ms(since));
    if (!found) co_return co_await reply_error(call, found.error());
    rows = std::move(*found);
  }
  auto body = usage_text(rows, since);
  co_await reply_json(call, 200, std::move(body));
}

}  // namespace llorch
