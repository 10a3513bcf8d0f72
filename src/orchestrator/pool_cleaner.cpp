#include "orchestrator/pool_cleaner.h"

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

PoolCleaner::PoolCleaner(Pools pools, Reach reach, Done done)
    : pools_(std::move(pools)),
      reach_(std::move(reach)),
      done_(std::move(done)),
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
      waiting_.push_back({worker_id, pool_host});
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
    posted_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    const auto pool = waiting_.front().pool;
    // One command finds all that has died there.
    std::vector<std::string> workers;
    std::erase_if(waiting_, [&](const Wanted& wanted) {
      if (wanted.pool == pool) workers.push_back(wanted.worker_id);
      return wanted.pool == pool;
    });
    lock.unlock();
    clean(pool);
    lock.lock();
    if (stopping_) return;
    lock.unlock();
    for (auto& worker : workers) done_(std::move(worker));
    lock.lock();
  }
}

void PoolCleaner::clean(const std::string& pool) {
  const auto host = reach_(pools_.at(pool));
  if (!host) return log_failure(pool, host.error());
  const std::vector<std::string> command = {"worker", "cleanup"};
  const auto outcome = (*host)->run(command, {.stop = [this] { return stopping_.load(); }});
  if (!outcome) return log_failure(pool, outcome.error());
  if (outcome->exit_status != 0) {
    return log_failure(
        pool, {.code = Code::backend_error,
               .message = "llorch-pool worker cleanup ended with " +
                          std::to_string(outcome->exit_status) + ": " + last_line(outcome->err)});
  }
  log_event(LogLevel::info, component, "pool_cleaned_up",
            {{"pool", pool}, {"message", last_line(outcome->out)}});
}

PoolCleaner::Reach reach_by_ssh(ProcessRunner& processes) {
  return [&processes](const PoolSettings& settings) -> Result<std::unique_ptr<SshHost>> {
    auto host = pool_host(settings);
    if (!host) return fail(host.error());
    return make_ssh_host(std::move(*host), ssh_surroundings(processes));
  };
}

}  // namespace llorch
