#include "store/sqlite_writer.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <string>
#include <utility>

#include "base/limits.h"
#include "base/log.h"

namespace llorch {
namespace {

using std::chrono::milliseconds;

SteadyTime now() {
  return std::chrono::steady_clock::now();
}

}  // namespace

SqliteWriter::SqliteWriter(Database database)
    : database_(std::move(database)), thread_([this] { run(); }) {}

SqliteWriter::~SqliteWriter() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  posted_.notify_one();
  thread_.join();
}

Result<void> SqliteWriter::post(std::unique_ptr<StoreWrite> write, Store::Done done, bool wipe) {
  const std::size_t bytes = write ? bytes_of(*write) : 0;
  const std::lock_guard lock(mutex_);
  if (stopping_) return fail(Code::draining, "the store is closing");
  const bool full = inbox_.size() >= limits::store_inbox_writes_max ||
                    (!inbox_.empty() && inbox_bytes_ + bytes > limits::store_inbox_bytes_max);
  if (full) {
    return fail(Code::queue_full, std::to_string(inbox_.size()) + " writes wait for the disk");
  }
  const auto due = now() + milliseconds(limits::store_write_behind_ms);
  const bool wakes = inbox_.empty() || (done && urgent_ == 0);
  put_last({std::move(write), std::move(done), wipe, bytes, due});
  if (wakes) posted_.notify_one();
  return {};
}

StoreFigures SqliteWriter::figures() const {
  const std::lock_guard lock(mutex_);
  StoreFigures figures = figures_;
  figures.waiting = inbox_.size();
  figures.failing = retry_at_.has_value();
  return figures;
}

void SqliteWriter::put_last(Pending pending) {
  inbox_bytes_ += pending.bytes;
  if (pending.done) ++urgent_;
  inbox_.push_back(std::move(pending));
}

void SqliteWriter::run() {
  for (Batch batch; wait_for_batch(batch); batch.clear()) {
    if (!batch.empty()) commit(std::move(batch));
    wipe_when_due();
  }
  // The last connection that closes empties the write-ahead log too, but tells nobody of errors.
  static_cast<void>(wipe());
}

bool SqliteWriter::wait_for_batch(Batch& batch) {
  std::unique_lock lock(mutex_);
  while (true) {
    const auto at = wake_at();
    if (at && *at <= now()) break;
    if (at) {
      posted_.wait_until(lock, *at);
    } else {
      posted_.wait(lock);
    }
  }
  if (stopping_ && inbox_.empty()) return false;
  batch = take_batch();
  return true;
}

// With the lock. nullopt: nothing to do until something is posted.
std::optional<SteadyTime> SqliteWriter::wake_at() const {
  if (stopping_ || urgent_ > 0) return SteadyTime::min();
  auto at = wipe_at_;
  if (!inbox_.empty()) {
    const auto due = retry_at_.value_or(inbox_.front().due);
    at = at ? std::min(*at, due) : due;
  }
  return at;
}

// With the lock. Empty when it was time for something else.
SqliteWriter::Batch SqliteWriter::take_batch() {
  Batch batch;
  const bool now_due = stopping_ || urgent_ > 0 ||
                       (!inbox_.empty() && retry_at_.value_or(inbox_.front().due) <= now());
  if (!now_due) return batch;
  const std::size_t writes_max =
      retry_at_ && !stopping_ ? limits::store_probe_writes_max : limits::store_batch_writes_max;
  std::size_t bytes = 0;
  while (!inbox_.empty() && batch.size() < writes_max) {
    Pending& next = inbox_.front();
    if (!batch.empty() && bytes + next.bytes > limits::store_batch_bytes_max) break;
    bytes += next.bytes;
    inbox_bytes_ -= next.bytes;
    if (next.done) --urgent_;
    batch.push_back(std::move(next));
    inbox_.pop_front();
  }
  return batch;
}

void SqliteWriter::commit(Batch batch) {
  const auto outcomes = write_batch(batch);
  if (!outcomes) {
    database_.roll_back();
    note_failure(outcomes.error());
    put_back(std::move(batch), outcomes.error());
    return;
  }
  note_success(batch.size());
  tell(batch, *outcomes);
}

Result<std::vector<SqliteWriter::Outcome>> SqliteWriter::write_batch(const Batch& batch) {
  const auto is_waited = [](const Pending& pending) { return static_cast<bool>(pending.done); };
  const bool waited = std::ranges::any_of(batch, is_waited);
  if (const auto chosen = choose_sync(waited); !chosen) return fail(chosen.error());
  std::vector<Outcome> outcomes(batch.size());
  const auto begun = database_.execute("BEGIN IMMEDIATE");
  if (!begun) return fail(begun.error());
  for (std::size_t index = 0; index < batch.size(); ++index) {
    const auto& write = batch[index].write;
    if (!write) continue;
    const auto applied = apply_write(database_, *write);
    if (applied) {
      outcomes[index].applied = *applied;
    } else if (is_refusal(applied.error())) {
      outcomes[index].result = fail(applied.error());
    } else {
      return fail(applied.error());
    }
  }
  const auto committed = database_.execute("COMMIT");
  if (!committed) return fail(committed.error());
  if (!waited) unsynced_ = true;
  if (unsynced_) sync_for_marks(batch, outcomes);
  return outcomes;
}

// A mark changes nothing, so its commit may have taken nothing to the disk.
void SqliteWriter::sync_for_marks(const Batch& batch, std::vector<Outcome>& outcomes) {
  const auto is_mark = [](const Pending& pending) { return !pending.write; };
  if (std::ranges::none_of(batch, is_mark)) return;
  const auto synced = database_.sync_log();
  unsynced_ = !synced;
  for (std::size_t index = 0; index < batch.size(); ++index) {
    if (is_mark(batch[index])) outcomes[index].result = synced;
  }
}

// An fsync for rows that nobody waits for would cost more than the rows.
Result<void> SqliteWriter::choose_sync(bool waited) {
  if (waited == syncs_) return {};
  const auto set =
      database_.script(waited ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
  if (set) syncs_ = waited;
  return set;
}

void SqliteWriter::tell(Batch& batch, const std::vector<Outcome>& outcomes) {
  for (std::size_t index = 0; index < batch.size(); ++index) {
    Pending& pending = batch[index];
    auto result = outcomes[index].result;
    const Applied& applied = outcomes[index].applied;
    if (applied.ended) {
      const std::lock_guard lock(mutex_);
      if (!wipe_at_) wipe_at_ = now() + milliseconds(limits::store_wipe_ms);
    }
    if (applied.more) {
      const std::lock_guard lock(mutex_);
      put_last(std::move(pending));
      continue;
    }
    if (pending.wipe && result) result = wipe();
    if (pending.done) {
      pending.done(std::move(result));
    } else if (!result) {
      log_event(LogLevel::warn, "store", "write_refused",
                {{"code", wire_name(result.error().code)}, {"message", result.error().message}});
    }
  }
}

// Whoever waits is told at once, wherever in the inbox: there is no use in waiting for the same
// error. What is written behind stays, in its order, ahead of what came later.
void SqliteWriter::put_back(Batch batch, const Error& error) {
  Batch told;
  std::size_t lost = 0;
  {
    const std::lock_guard lock(mutex_);
    std::ranges::move(inbox_, std::back_inserter(batch));
    inbox_.clear();
    inbox_bytes_ = 0;
    urgent_ = 0;
    for (auto& pending : batch) {
      if (pending.done) {
        told.push_back(std::move(pending));
      } else if (!stopping_) {
        put_last(std::move(pending));
      } else {
        ++lost;
      }
    }
  }
  for (auto& pending : told) pending.done(fail(error));
  if (lost > 0) {
    log_event(LogLevel::error, "store", "writes_lost",
              {{"count", static_cast<std::int64_t>(lost)}, {"message", error.message}});
  }
}

void SqliteWriter::note_failure(const Error& error) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    ++figures_.failed_commits;
    first = !retry_at_;
    retry_at_ = now() + milliseconds(limits::store_retry_ms);
  }
  if (!first) return;
  log_event(LogLevel::error, "store", "failing",
            {{"code", wire_name(error.code)}, {"message", error.message}, {"next", error.next}});
}

void SqliteWriter::note_success(std::size_t writes) {
  bool healed = false;
  {
    const std::lock_guard lock(mutex_);
    ++figures_.commits;
    figures_.writes += writes;
    healed = retry_at_.has_value();
    retry_at_.reset();
  }
  if (healed) log_event(LogLevel::info, "store", "healed");
}

void SqliteWriter::wipe_when_due() {
  {
    const std::lock_guard lock(mutex_);
    if (!wipe_at_ || *wipe_at_ > now()) return;
    wipe_at_.reset();
  }
  const auto emptied = database_.truncate_log(0);
  if (emptied && *emptied) return;
  const auto wait_ms = emptied ? limits::store_retry_ms : limits::store_wipe_ms;
  const std::lock_guard lock(mutex_);
  wipe_at_ = now() + milliseconds(wait_ms);
}

Result<void> SqliteWriter::wipe() {
  const auto emptied = database_.truncate_log(limits::store_busy_ms);
  if (!emptied) return fail(emptied.error());
  if (!*emptied) return fail(Code::timeout, "a reader keeps the write-ahead log in use");
  return {};
}

}  // namespace llorch
