// What a list of jobs was asked for, from the query of its URL; and times as people give them.
// Threads: any. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/store.h"

namespace llorch {

// ?status=&model=&tenant=&since=&limit=&cursor= ; absent and empty ones narrow nothing.
// Errors: invalid_request with every violation, unknown fields among them.
Result<JobFilter> parse_task_query(std::string_view query, std::int64_t now_ms);

// Where a page ended, for the next one: "1767605400000.5f0c2a0e-…".
std::string cursor_of(const JobPlace& place);
std::optional<JobPlace> place_in(std::string_view cursor);

// Milliseconds since 1970 of "24h", "90m", "7d" (so long ago) or "2026-01-05T09:30:00Z".
std::optional<std::int64_t> since_ms_of(std::string_view text, std::int64_t now_ms);

// The fields of a query in order, percent-decoded.
struct QueryField {
  std::string name, value;
};
std::vector<QueryField> query_fields(std::string_view query);

}  // namespace llorch
