#include "engine/kv_disk.h"

#include <algorithm>
#include <chrono>
#include <pthread.h>
#include <sys/resource.h>
#include <utility>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"

namespace llorch {
namespace {

using std::chrono::milliseconds;

constexpr int disk_nice = 10;  // below the engine's own threads: sums of states can wait

void settle_thread() {
#ifdef __linux__
  pthread_setname_np(pthread_self(), "kv-disk");
  setpriority(PRIO_PROCESS, 0, disk_nice);  // of this thread
#endif
}

}  // namespace

KvDisk::KvDisk(std::unique_ptr<FileSystem> files, KvFolderOptions options, Arrival arrival)
    : files_(std::move(files)),
      folder_(*files_, clock_, std::move(options)),
      arrival_(std::move(arrival)),
      thread_([this] { run(); }) {}

KvDisk::~KvDisk() {
  {
    const std::lock_guard lock(mutex_);
    if (!hurry_until_) hurry_until_ = steady_now() + milliseconds(limits::kv_flush_ms);
    stop_at_ = hurry_until_;
  }
  changed_.notify_all();
  thread_.join();
}

bool KvDisk::ready() const {
  const std::lock_guard lock(mutex_);
  return ready_;
}

KvDisk::Match KvDisk::find(const std::string& scope, std::span<const Token> prompt) const {
  PrefixMap<Indexed>::Key key{scope, {prompt.begin(), prompt.end()}};
  const std::lock_guard lock(mutex_);
  const auto near = index_.nearest(key);
  if (near.shared == 0) return {};
  return {near.shared, near.at->first.size(), near.at->second.name};
}

bool KvDisk::read(const std::string& name) {
  {
    const std::lock_guard lock(mutex_);
    if (reads_.size() >= limits::kv_reads_max) return false;
    reads_.push_back(name);
  }
  changed_.notify_all();
  return true;
}

bool KvDisk::wants(const std::string& scope, const std::vector<Token>& tokens) {
  PrefixMap<Indexed>::Key key{scope, tokens};
  const auto least = std::max(limits::kv_disk_tokens_least, key.size() / limits::kv_disk_new_share);
  const std::lock_guard lock(mutex_);
  for (const auto& waiting : writes_) {
    if (waiting->scope != scope) continue;
    if (key.size() - shared_tokens(waiting->tokens, tokens) < least) return false;
  }
  const auto near = index_.nearest(key);
  if (key.size() - near.shared >= least) return true;
  const auto now = steady_now();
  if (near.shared > 0 && now - near.at->second.touched_at >= milliseconds(limits::kv_touch_ms)) {
    near.at->second.touched_at = now;
    touches_.insert(near.at->second.name);
    changed_.notify_all();
  }
  return false;
}

bool KvDisk::room_for(std::uint64_t state_bytes) const {
  return writes_.size() < limits::kv_writes_waiting_max &&
         writes_bytes_ + state_bytes <= limits::kv_writes_bytes_max;
}

bool KvDisk::has_room(std::uint64_t state_bytes) const {
  const std::lock_guard lock(mutex_);
  return room_for(state_bytes);
}

bool KvDisk::write(KvSnapshot snapshot) {
  {
    const std::lock_guard lock(mutex_);
    if (!room_for(snapshot.state.size)) {
      ++load_.writes_dropped_total;
      return false;
    }
    writes_bytes_ += snapshot.state.size;
    writes_.push_back(std::make_shared<const KvSnapshot>(std::move(snapshot)));
  }
  changed_.notify_all();
  return true;
}

void KvDisk::hurry(SteadyTime deadline) {
  {
    const std::lock_guard lock(mutex_);
    hurry_until_ = deadline;
  }
  changed_.notify_all();
}

bool KvDisk::wait_for_room(std::uint64_t state_bytes, SteadyTime deadline) {
  if (state_bytes > limits::kv_writes_bytes_max) return false;
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline, [&] { return room_for(state_bytes); });
}

KvDiskLoad KvDisk::load() const {
  const std::lock_guard lock(mutex_);
  return load_;
}

void KvDisk::run() {
  settle_thread();
  while (true) {
    switch (wait_for_work()) {
      case Next::look:
        look();
        break;
      case Next::read:
        read_first();
        break;
      case Next::touch:
        touch_first();
        break;
      case Next::write:
        write_first();
        break;
      case Next::stop:
        return;
    }
  }
}

// A job waits for a read, nobody for the rest.
KvDisk::Next KvDisk::wait_for_work() {
  std::unique_lock lock(mutex_);
  while (true) {
    const auto now = steady_now();
    if (stop_at_ && (writes_.empty() || now >= *stop_at_)) return Next::stop;
    if (!ready_) return Next::look;
    if (!reads_.empty()) return Next::read;
    if (!touches_.empty()) return Next::touch;
    if (!writes_.empty() && (hurry_until_ || now >= write_at_)) return Next::write;
    if (now >= look_at_) return Next::look;
    changed_.wait_until(lock, writes_.empty() ? look_at_ : std::min(look_at_, write_at_));
  }
}

void KvDisk::add(PrefixMap<Indexed>::Key key, const std::string& name) {
  index_.add(std::move(key), {name, steady_now()});
}

void KvDisk::forget(const std::string& name) {
  std::erase_if(index_.entries(), [&](const auto& each) { return each.second.name == name; });
}

void KvDisk::count_files() {
  load_.files = folder_.files();
  load_.bytes = folder_.bytes();
}

void KvDisk::look() {
  std::set<std::string> known;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, entry] : index_.entries()) known.insert(entry.name);
  }
  auto look = folder_.look(known);
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(index_.entries(),
                  [&](const auto& each) { return !look.there.contains(each.second.name); });
    for (auto& each : look.found) {
      add({std::move(each.scope), std::move(each.tokens)}, each.name);
    }
    load_.rejected_total += static_cast<std::uint64_t>(look.rejected);
    look_at_ = steady_now() + milliseconds(limits::kv_scan_ms);
    count_files();
    if (std::exchange(ready_, true)) return;
  }
  arrival_("", nullptr);
}

void KvDisk::read_first() {
  std::string name;
  {
    const std::lock_guard lock(mutex_);
    name = reads_.front();
  }
  auto snapshot = folder_.read(name);
  {
    const std::lock_guard lock(mutex_);
    ++load_.reads_total;
    reads_.pop_front();
    if (!snapshot) {
      forget(name);
      load_.rejected_total += snapshot.error().code == Code::not_found ? 0 : 1;
    }
    count_files();
  }
  arrival_(name, snapshot ? std::make_shared<const KvSnapshot>(std::move(*snapshot)) : nullptr);
}

void KvDisk::touch_first() {
  std::string name;
  {
    const std::lock_guard lock(mutex_);
    name = touches_.extract(touches_.begin()).value();
  }
  if (folder_.used(name)) return;
  const std::lock_guard lock(mutex_);
  forget(name);
}

void KvDisk::failed(const Error& error) {
  ++load_.writes_failed_total;
  if (std::exchange(failing_, true)) return;  // said once, until one succeeds
  log_event(LogLevel::warn, "engine", "kv_write_failed", {{"why", error.message}});
}

void KvDisk::write_first() {
  Snapshot snapshot;
  {
    const std::lock_guard lock(mutex_);
    snapshot = writes_.front();
  }
  const auto begun = steady_now();
  const auto name = folder_.write(*snapshot);
  const auto ms = elapsed_ms(begun, steady_now());
  std::string contained;  // all of it is in the new one
  {
    const std::lock_guard lock(mutex_);
    writes_.pop_front();
    writes_bytes_ -= snapshot->state.size;
    write_at_ =
        steady_now() + milliseconds(static_cast<std::int64_t>(ms)) * (limits::kv_write_share - 1);
    if (name) {
      failing_ = false;
      ++load_.writes_total;
      PrefixMap<Indexed>::Key key{snapshot->scope, snapshot->tokens};
      const auto near = index_.nearest(key);
      if (near.shared > 0 && near.shared == near.at->first.size() && near.shared < key.size()) {
        contained = near.at->second.name;
        index_.erase(near.at);
      }
      add(std::move(key), *name);
    } else {
      failed(name.error());
    }
  }
  changed_.notify_all();
  if (!contained.empty()) folder_.remove(contained);
  log_event(LogLevel::debug, "engine", "kv_written",
            {{"tokens", static_cast<std::int64_t>(snapshot->tokens.size())},
             {"bytes", static_cast<std::int64_t>(snapshot->state.size)},
             {"ms", ms}});
  const std::lock_guard lock(mutex_);
  count_files();
}

}  // namespace llorch
