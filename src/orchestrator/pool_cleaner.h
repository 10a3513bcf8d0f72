// When a worker has died, its host is told: `ssh HOST llorch-pool worker cleanup`, on a thread of
// its own. Only hosts of [pools.NAME] are ever contacted, whatever a worker says of itself.
// Threads: the io thread; `done` is called on the cleaner's. Lifetime: the destructor ends a
// command that runs, and waits for it; what still waits is then not done.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/settings.h"
#include "ssh/ssh_host.h"

namespace llorch {

class PoolCleaner {
 public:
  using Pools = std::map<std::string, PoolSettings, std::less<>>;
  // How a pool is spoken to. Errors: invalid_request (what the settings say of it).
  using Reach = std::function<Result<std::unique_ptr<SshHost>>(const PoolSettings&)>;
  // The pool of that worker was cleaned up, or could not be: either way it is in the log.
  using Done = std::function<void(std::string worker_id)>;

  PoolCleaner(Pools pools, Reach reach, Done done);
  ~PoolCleaner();
  PoolCleaner(const PoolCleaner&) = delete;
  PoolCleaner& operator=(const PoolCleaner&) = delete;

  // False: `pool_host` is no [pools.NAME], or too many wait; nothing is done, and the log says so.
  bool clean_up_after(const std::string& worker_id, const std::string& pool_host);

 private:
  struct Wanted {
    std::string worker_id, pool;
  };
  void run();
  void clean(const std::string& pool);

  const Pools pools_;
  const Reach reach_;
  const Done done_;
  std::mutex mutex_;
  std::condition_variable posted_;
  std::deque<Wanted> waiting_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

// The system's ssh. Lifetime: `processes` outlives what it gives.
PoolCleaner::Reach reach_by_ssh(ProcessRunner& processes);

}  // namespace llorch
