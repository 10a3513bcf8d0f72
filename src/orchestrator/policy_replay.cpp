#include "orchestrator/policy_replay.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/limits.h"
#include "net/event.h"
#include "orchestrator/decision_text.h"
#include "policy/rhai_policy.h"
#include "protocol/json_text.h"

namespace llorch {
namespace {

constexpr const char* script_name = "candidate";  // in "decided_by": candidate:12

void append_shifts(std::string& out, const ReplaySummary& summary) {
  append_json_list(out, summary.workers, [&](const auto& entry) {
    JsonObjectWriter(out)
        .string("worker_id", entry.first)
        .integer("before", static_cast<std::int64_t>(entry.second.before))
        .integer("after", static_cast<std::int64_t>(entry.second.after))
        .end();
  });
}

void append_examples(std::string& out, const ReplaySummary& summary) {
  append_json_list(out, summary.differences, [&](const ReplayDifference& difference) {
    JsonObjectWriter(out)
        .string("job_id", difference.job_id)
        .string("before", difference.before)
        .string("after", difference.after)
        .string("decided_by", difference.decided_by)
        .end();
  });
}

}  // namespace

Result<ReplayReport> replay_decisions(Store& store, const ReplayRequest& request,
                                      const std::function<bool()>& stop) {
  const SystemClock real;
  const auto begun = real.now();
  ReplayClock clock;
  const auto script = RhaiPolicy::load(
      request.script, clock, {.name = script_name, .limits = request.limits, .is_silent = true});
  if (!script) return fail(script.error());
  BuiltInPolicy fallback(request.placement);
  const auto span = store.read_now([&](StoreReader& reader) {
    return reader.newest_decisions(request.since_ms, request.decisions_max);
  });
  if (!span) return fail(span.error());
  ReplayReport report;
  report.recorded = span->count;
  auto left = std::min(span->count, request.decisions_max);
  auto row = span->first_row;
  while (left > 0) {
    report.complete = !stop() && elapsed_ms(begun, real.now()) < double{limits::replay_ms};
    if (!report.complete) break;
    const auto count = std::min(left, limits::replay_page);
    const auto page =
        store.read_now([&](StoreReader& reader) { return reader.decisions_from(row, count); });
    if (!page) return fail(page.error());
    if (page->empty()) break;  // too old meanwhile
    std::vector<DecisionRecord> records;
    for (const auto& stored : page.value()) {
      if (auto record = record_of(stored.decision)) {
        records.push_back(std::move(*record));
      } else {
        ++report.unreadable;
      }
    }
    replay(records, **script, fallback, clock, report.summary);
    left -= std::ssize(*page);
    row = page->back().row + 1;
  }
  report.script_errors = (*script)->counts().total();
  report.took_ms = elapsed_ms(begun, real.now());
  return report;
}

std::string replay_text(const ReplayReport& report, const ReplayRequest& request) {
  const auto& summary = report.summary;
  std::string out;
  JsonObjectWriter row(out);
  row.string("since", rfc3339(wall_time(request.since_ms)))
      .integer("recorded", report.recorded)
      .integer("decisions", static_cast<std::int64_t>(summary.decisions))
      .integer("same", static_cast<std::int64_t>(summary.same))
      .integer("differ", static_cast<std::int64_t>(summary.other_worker + summary.other_kind))
      .integer("other_worker", static_cast<std::int64_t>(summary.other_worker))
      .integer("other_kind", static_cast<std::int64_t>(summary.other_kind))
      .integer("unreadable", report.unreadable)
      .unsigned_integer("script_errors", report.script_errors)
      .boolean("complete", report.complete)
      .number("took_ms", report.took_ms);
  append_shifts(row.key("workers"), summary);
  append_examples(row.key("examples"), summary);
  row.end();
  return out;
}

PolicyReplay::~PolicyReplay() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

Task<Result<ReplayReport>> PolicyReplay::run(ReplayRequest request) {
  if (running_) {
    co_return fail(Code::conflict, "another replay is running", "try again in a moment");
  }
  running_ = true;
  stop_ = false;
  if (thread_.joinable()) thread_.join();  // it has posted its answer: it is at its end
  const auto answer = std::make_shared<std::unique_ptr<Result<ReplayReport>>>();
  const auto arrived = std::make_shared<net::Event>(executor_);
  thread_ = std::thread([this, answer, arrived, request = std::move(request)] {
    auto result = std::make_unique<Result<ReplayReport>>(
        replay_decisions(store_, request, [this] { return stop_.load(); }));
    asio::post(executor_, [this, answer, arrived, result = std::move(result)]() mutable {
      running_ = false;
      *answer = std::move(result);
      arrived->ring();
    });
  });
  while (!*answer) co_await arrived->wait();
  co_return std::move(**answer);
}

}  // namespace llorch
