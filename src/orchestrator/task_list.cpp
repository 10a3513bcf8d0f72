#include "orchestrator/task_list.h"

#include <algorithm>
#include <utility>

namespace llorch {
namespace {

JobPlace place_of(const JobRecord& job) {
  return {unix_ms(job.accepted_wall), job.id};
}

bool fits(const JobRecord& job, const JobFilter& filter) {
  if (!job.admitted) return false;
  if (filter.status && wire_name(*filter.status) != wire_name(job.status)) return false;
  if (filter.model && *filter.model != job.model) return false;
  if (filter.tenant && *filter.tenant != job.tenant) return false;
  const auto place = place_of(job);
  if (filter.since_ms && place.accepted_at_ms < *filter.since_ms) return false;
  return !filter.before || place < *filter.before;
}

}  // namespace

Task<Result<TaskPage>> task_page(Orchestrator& service, const JobFilter& filter) {
  TaskPage page;
  std::vector<StoredJob> rows;
  if (auto* const journal = service.journal()) {
    auto read = co_await journal->list(filter);
    if (!read) co_return fail(read.error());
    rows = std::move(*read);
  }
  // Rows are behind by a moment: of a job in memory, memory says what it is.
  for (const auto& row : rows) {
    if (!service.jobs().contains(row.job_id)) {
      page.jobs.push_back(record_of(service.executor(), row));
    }
  }
  // What lies beyond the last row belongs to the next page.
  std::optional<JobPlace> last;
  if (rows.size() >= filter.limit) last = place_of(rows.back());
  for (const auto& [id, job] : service.jobs()) {
    if (fits(*job, filter) && (!last || place_of(*job) >= *last)) page.jobs.push_back(job);
  }
  std::sort(page.jobs.begin(), page.jobs.end(),
            [](const auto& a, const auto& b) { return place_of(*a) > place_of(*b); });
  if (page.jobs.size() > filter.limit) {
    page.jobs.resize(filter.limit);
    last = place_of(*page.jobs.back());
  }
  page.next = std::move(last);
  co_return page;
}

}  // namespace llorch
