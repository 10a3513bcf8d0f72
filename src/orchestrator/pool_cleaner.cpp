#include "orchestrator/pool_cleaner.h"

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "base/log.h"

namespace llorch {
namespace {

constexpr const char* component = "orchestrator";

std::string by_hand(const std::string& pool) {
  return "llorch pool worker cleanup --host " + pool;
}

void log_failure(const std::string& pool, const Error& error) {
  log_event(
      LogLevel::error, component, "pool_cleanup_failed",
      {{"pool", pool},
       {"code", wire_name(error.code)},
       {"message", error.message},
       {"next", error.next.empty() ? by_hand(pool) : error.next + "; then: " + by_hand(pool)}});
}

// The last line that a command printed: "Cleaned up 1 orphaned workers".
std::string last_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

}  // namespace

PoolCleaner::PoolCleaner(Pools pools, Reach reach, Done done, std::chrono::milliseconds pause)
    : pools_(std::move(pools)),
      reach_(std::move(reach)),
      done_(std::move(done)),
      pause_(pause),
      thread_([this] { run(); }) {}

PoolCleaner::~PoolCleaner() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  posted_.notify_one();
  thread_.join();
}

bool PoolCleaner::clean_up_after(const std::string& worker_id, const std::string& pool_host) {
  if (!pools_.contains(pool_host)) {
    log_event(LogLevel::warn, component, "pool_not_known",
              {{"worker_id", worker_id},
               {"pool_host", pool_host},
               {"message", "a worker has died on a host that no [pools.NAME] names"},
               {"next", "llorch host add NAME, or there: llorch-pool worker cleanup"}});
    return false;
  }
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() < limits::cleanups_waiting_max) {
      waiting_.push_back({.worker_id = worker_id, .pool = pool_host});
      posted_.notify_one();
      return true;
    }
  }
  log_failure(pool_host,
              {.code = Code::queue_full, .message = "too many pools wait for a cleanup"});
  return false;
}

void PoolCleaner::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    auto batch = wait_for_batch(lock);
    if (stopping_) return;
    lock.unlock();
    const bool cleaned = clean(batch.front().pool);
    lock.lock();
    if (stopping_) return;
    if (!cleaned) put_back(batch);
    lock.unlock();
    for (auto& wanted : batch) done_(std::move(wanted.worker_id));
    lock.lock();
  }
}

// All of one pool whose time has come: one command finds them. Empty when it is time to stop.
PoolCleaner::Batch PoolCleaner::wait_for_batch(std::unique_lock<std::mutex>& lock) {
  Batch batch;
  while (!stopping_) {
    const auto now = std::chrono::steady_clock::now();
    const auto first = std::ranges::min_element(waiting_, {}, &Wanted::not_before);
    if (first == waiting_.end()) {
      posted_.wait(lock);
    } else if (first->not_before > now) {
      posted_.wait_until(lock, first->not_before);
    } else {
      const auto pool = first->pool;
      std::erase_if(waiting_, [&](const Wanted& wanted) {
        const bool due = wanted.pool == pool && wanted.not_before <= now;
        if (due) batch.push_back(wanted);
        return due;
      });
      break;
    }
  }
  return batch;
}

// With the lock. Leaves those that were tried often enough.
void PoolCleaner::put_back(Batch& failed) {
  const auto due = std::chrono::steady_clock::now() + pause_;
  Batch given_up;
  for (auto& wanted : failed) {
    const bool again = ++wanted.tries < limits::cleanup_tries_max;
    wanted.not_before = due;
    if (again) {
      waiting_.push_back(std::move(wanted));
    } else {
      given_up.push_back(std::move(wanted));
    }
  }
  failed = std::move(given_up);
}

bool PoolCleaner::clean(const std::string& pool) {
  const auto host = reach_(pools_.at(pool));
  if (!host) return log_failure(pool, host.error()), false;
  const std::vector<std::string> command = {"worker", "cleanup"};
  const auto outcome = (*host)->run(command, {.stop = [this] { return stopping_.load(); }});
  if (!outcome) return log_failure(pool, outcome.error()), false;
  if (outcome->exit_status != 0) {
    log_failure(pool,
                {.code = Code::backend_error,
                 .message = "llorch-pool worker cleanup ended with " +
                            std::to_string(outcome->exit_status) + ": " + last_line(outcome->err)});
    return false;
  }
  log_event(LogLevel::info, component, "pool_cleaned_up",
            {{"pool", pool}, {"message", last_line(outcome->out)}});
  return true;
}

PoolCleaner::Reach reach_by_ssh(ProcessRunner& processes) {
  return [&processes](const PoolSettings& settings) -> Result<std::unique_ptr<SshHost>> {
    auto host = pool_host(settings);
    if (!host) return fail(host.error());
    return make_ssh_host(std::move(*host), ssh_surroundings(processes));
  };
}

}  // namespace llorch
