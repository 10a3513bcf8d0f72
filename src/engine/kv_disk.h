// Snapshots of KV cells on disk, for the engine thread: what is there is known in memory, reading
// and writing happen on a thread of its own, between bounded queues.
// Threads: every method any. Lifetime: the destructor writes what waits, within a limit.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "engine/engine.h"
#include "engine/kv_folder.h"
#include "engine/prefix_cache.h"
#include "sys/file_system.h"

namespace llorch {

class KvDisk {
 public:
  // On the disk's thread: the snapshot that read() asked for; null: it cannot be used. Once the
  // folder has been looked through it comes with an empty name.
  using Arrival =
      std::function<void(const std::string& name, std::shared_ptr<const KvSnapshot> snapshot)>;

  KvDisk(std::unique_ptr<FileSystem> files, KvFolderOptions options, Arrival arrival);
  ~KvDisk();
  KvDisk(const KvDisk&) = delete;
  KvDisk& operator=(const KvDisk&) = delete;

  // Whether the folder has been looked through.
  bool ready() const;
  struct Match {
    std::int64_t shared = 0;  // tokens that prompt and snapshot begin with; 0 = none
    std::int64_t tokens = 0;  // all of the snapshot
    std::string name;
  };
  // The snapshot of that scope that shares most with the prompt.
  Match find(const std::string& scope, std::span<const Token> prompt) const;
  // Asks for a snapshot. False: kv_reads_max are on their way.
  bool read(const std::string& name);

  // Whether a snapshot of these tokens would say enough that is new; if not, what is there counts
  // as used.
  bool wants(const std::string& scope, const std::vector<Token>& tokens);
  // Whether a snapshot of that size may join those that wait to be written.
  bool has_room(std::uint64_t state_bytes) const;
  // Queues it. False: there is no room; it is dropped and counted.
  bool write(KvSnapshot snapshot);
  // From now on writes follow each other without a pause: the worker stops, at `deadline`.
  void hurry(SteadyTime deadline);
  // Until a state of that size has room. False: not before `deadline`.
  bool wait_for_room(std::uint64_t state_bytes, SteadyTime deadline);

  KvDiskLoad load() const;

 private:
  struct Indexed {
    std::string name;
    SteadyTime touched_at;
  };
  using Snapshot = std::shared_ptr<const KvSnapshot>;
  enum class Next { look, read, touch, write, stop };

  void run();
  Next wait_for_work();
  void look();
  void read_first();
  void touch_first();
  void write_first();
  void failed(const Error& error);
  void add(PrefixMap<Indexed>::Key key, const std::string& name);
  void forget(const std::string& name);
  void count_files();
  bool room_for(std::uint64_t state_bytes) const;

  const std::unique_ptr<FileSystem> files_;
  const SystemClock clock_;
  KvFolder folder_;  // the disk's thread only
  const Arrival arrival_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  PrefixMap<Indexed> index_;
  std::deque<std::string> reads_;  // the first is being read
  std::deque<Snapshot> writes_;    // the first is being written, once it has its turn
  std::set<std::string> touches_;
  std::uint64_t writes_bytes_ = 0;
  SteadyTime look_at_;
  SteadyTime write_at_;                // not before
  std::optional<SteadyTime> stop_at_;  // at the latest
  bool ready_ = false;
  std::optional<SteadyTime> hurry_until_;
  bool failing_ = false;
  KvDiskLoad load_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace llorch
