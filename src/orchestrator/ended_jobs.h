// Which ended jobs stay in memory for late readers: the newest, bounded by number and by bytes.
// Those before them are in the store. Pure. Threads: one owner.
#pragma once

#include <cstddef>
#include <deque>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"

namespace llorch {

class EndedJobs {
 public:
  explicit EndedJobs(std::size_t jobs_max) : jobs_max_(jobs_max) {}
  // `bytes`: what is kept of it.
  void add(JobId id, std::size_t bytes, SteadyTime now);
  // Those that are to go now, oldest first.
  std::vector<JobId> surplus(SteadyTime now);
  std::size_t bytes() const { return bytes_; }

 private:
  struct Ended {
    JobId id;
    std::size_t bytes;
    SteadyTime at;
  };
  const std::size_t jobs_max_;
  std::deque<Ended> jobs_;  // oldest first
  std::size_t bytes_ = 0;
};

}  // namespace llorch
