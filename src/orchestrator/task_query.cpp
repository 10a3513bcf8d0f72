#include "orchestrator/task_query.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <utility>

#include "base/clock.h"
#include "base/limits.h"
#include "net/framing.h"
#include "protocol/field_reader.h"

namespace llorch {
namespace {

std::optional<std::int64_t> whole(std::string_view text) {
  std::int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, status] = std::from_chars(text.data(), end, number);
  if (status != std::errc{} || stop != end || number < 0) return std::nullopt;
  return number;
}

std::optional<std::int64_t> span_ms(std::string_view text) {
  struct Unit {
    char letter;
    std::int64_t ms;
  };
  constexpr std::array units = {Unit{'s', 1'000}, Unit{'m', 60'000}, Unit{'h', 3'600'000},
                                Unit{'d', 86'400'000}};
  constexpr std::int64_t count_max = 1'000'000;  // 2 700 years in days
  const auto count = text.empty() ? std::nullopt : whole(text.substr(0, text.size() - 1));
  if (!count || *count > count_max) return std::nullopt;
  for (const auto& [letter, ms] : units) {
    if (text.back() == letter) return *count * ms;
  }
  return std::nullopt;
}

void read_field(JobFilter& filter, const QueryField& field, std::int64_t now_ms,
                Violations& violations) {
  const auto& [name, value] = field;
  if (name == "status") {
    filter.status = from_wire_name<StoredJob::Status>(value);
    if (!filter.status) {
      violations.add(name, "a status",
                     "status: must be queued, dispatched, running, completed, failed or cancelled");
    }
  } else if (name == "model") {
    filter.model = value;
  } else if (name == "tenant") {
    filter.tenant = value;
  } else if (name == "since") {
    filter.since_ms = since_ms_of(value, now_ms);
    if (!filter.since_ms) {
      violations.add(name, "a time", "since: must be like 24h, 7d or 2026-01-05T09:30:00Z");
    }
  } else if (name == "limit") {
    const auto limit = whole(value);
    if (!limit || *limit == 0 || *limit > static_cast<std::int64_t>(limits::store_list_max)) {
      violations.add(name, "1..1000", "limit: must be 1..1000");
    } else {
      filter.limit = static_cast<std::size_t>(*limit);
    }
  } else if (name == "cursor") {
    filter.before = place_in(value);
    if (!filter.before) violations.add(name, "a next_cursor", "cursor: must be a next_cursor");
  } else {
    violations.add(name, "known",
                   name + ": is not known; status, model, tenant, since, limit and cursor are");
  }
}

}  // namespace

std::vector<QueryField> query_fields(std::string_view query) {
  std::vector<QueryField> fields;
  while (!query.empty()) {
    const auto field = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(field.size() + 1, query.size()));
    const auto equals = std::min(field.find('='), field.size());
    if (field.empty()) continue;
    fields.push_back({net::percent_decoded(field.substr(0, equals)),
                      net::percent_decoded(field.substr(std::min(equals + 1, field.size())))});
  }
  return fields;
}

Result<JobFilter> parse_task_query(std::string_view query, std::int64_t now_ms) {
  JobFilter filter;
  Violations violations;
  for (const auto& field : query_fields(query)) {
    if (!field.value.empty()) read_field(filter, field, now_ms, violations);
  }
  if (!violations.empty()) return fail(std::move(violations).error());
  return filter;
}

std::string cursor_of(const JobPlace& place) {
  return std::to_string(place.accepted_at_ms) + "." + place.job_id.value;
}

std::optional<JobPlace> place_in(std::string_view cursor) {
  const auto dot = cursor.find('.');
  if (dot == cursor.npos) return std::nullopt;
  const auto ms = whole(cursor.substr(0, dot));
  if (!ms || dot + 1 == cursor.size()) return std::nullopt;
  return JobPlace{*ms, JobId{std::string(cursor.substr(dot + 1))}};
}

std::optional<std::int64_t> since_ms_of(std::string_view text, std::int64_t now_ms) {
  if (const auto ago = span_ms(text)) return std::max<std::int64_t>(now_ms - *ago, 0);
  const auto time = parse_rfc3339(text);
  return time ? std::optional(unix_ms(*time)) : std::nullopt;
}

}  // namespace llorch
