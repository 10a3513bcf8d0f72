// When a worker has died, its host is told: `ssh HOST llorch-pool worker cleanup`, on a thread of
// its own, and again later while that fails: a host often goes down together with its worker. Only
// hosts of [pools.NAME] are ever contacted, whatever a worker says of itself.
// Threads: the io thread; `done` is called on the cleaner's. Lifetime: the destructor ends a
// command that runs, and waits for it; what still waits is then not done.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/limits.h"
#include "base/settings.h"
#include "ssh/ssh_host.h"

namespace llorch {

class PoolCleaner {
 public:
  using Pools = std::map<std::string, PoolSettings, std::less<>>;
  // How a pool is spoken to. Errors: invalid_request (what the settings say of it).
  using Reach = std::function<Result<std::unique_ptr<SshHost>>(const PoolSettings&)>;
  // The pool of that worker was cleaned up, or could not be for long: either way it is in the log.
  using Done = std::function<void(std::string worker_id)>;

  PoolCleaner(
      Pools pools, Reach reach, Done done,
      std::chrono::milliseconds pause = std::chrono::milliseconds(limits::cleanup_retry_ms));
  ~PoolCleaner();
  PoolCleaner(const PoolCleaner&) = delete;
  PoolCleaner& operator=(const PoolCleaner&) = delete;

  // False: `pool_host` is no [pools.NAME], or too many wait; nothing is done, and the log says so.
  bool clean_up_after(const std::string& worker_id, const std::string& pool_host);

 private:
  struct Wanted {
    std::string worker_id, pool;
    unsigned tries = 0;
    SteadyTime not_before = SteadyTime::min();
  };
  using Batch = std::vector<Wanted>;
  void run();
  Batch wait_for_batch(std::unique_lock<std::mutex>& lock);
  bool clean(const std::string& pool);
  void put_back(Batch& failed);

  const Pools pools_;
  const Reach reach_;
  const Done done_;
  const std::chrono::milliseconds pause_;
  std::mutex mutex_;
  std::condition_variable posted_;
  std::deque<Wanted> waiting_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

// The system's ssh. Lifetime: `processes` outlives what it gives.
PoolCleaner::Reach reach_by_ssh(ProcessRunner& processes);

}  // namespace llorch
