// One page of the list of jobs: those in memory as they are now, all others from the store.
// Threads: the io thread.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "orchestrator/service.h"
#include "orchestrator/task_query.h"

namespace llorch {

struct TaskPage {
  std::vector<std::shared_ptr<JobRecord>> jobs;  // the newest first, without their frames
  std::optional<JobPlace> next;                  // where the next page goes on; absent: it is all
};
// Shape: at most filter.limit jobs; fewer do not mean that no more follow, `next` does.
// Errors: those of StoreReader.
Task<Result<TaskPage>> task_page(Orchestrator& service, const JobFilter& filter);

}  // namespace llorch
