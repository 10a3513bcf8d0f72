#include "orchestrator/ended_jobs.h"

#include <utility>

#include "base/limits.h"

namespace llorch {
namespace {

// Beside the number, for tasks 64 KiB each: some 250 tokens.
constexpr std::size_t ended_bytes_max = 64 * limits::mib;
constexpr double settled_ms = 1'000;  // by then the store has what ended

}  // namespace

void EndedJobs::add(JobId id, std::size_t bytes, SteadyTime now) {
  jobs_.push_back({std::move(id), bytes, now});
  bytes_ += bytes;
}

std::vector<JobId> EndedJobs::surplus(SteadyTime now) {
  std::vector<JobId> going;
  const auto too_many = [&] {
    if (jobs_.size() > jobs_max_) return true;
    return bytes_ > ended_bytes_max && elapsed_ms(jobs_.front().at, now) >= settled_ms;
  };
  while (too_many()) {
    bytes_ -= jobs_.front().bytes;
    going.push_back(std::move(jobs_.front().id));
    jobs_.pop_front();
  }
  return going;
}

}  // namespace llorch
