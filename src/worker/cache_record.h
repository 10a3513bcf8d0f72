// Which prompt prefixes this worker probably still holds, for the heartbeat: the hash chains of
// recently finished prompts, as changes since the last beat that the orchestrator has taken.
// Threads: the io thread. Pure.
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace llorch {

struct CacheChange {
  std::uint64_t version = 0;  // grows with each change
  std::vector<std::uint64_t> added;
  std::vector<std::uint64_t> removed;
};

class CacheRecord {
 public:
  // A prompt has been computed: its chain, first block first. The oldest entries give way.
  void finished(std::span<const std::uint64_t> chain);
  // What the peer lacks. Stays pending until taken().
  CacheChange pending() const;
  // The peer has the state that pending() described as `version`.
  void taken(const CacheChange& change);
  // The peer has nothing: all entries are pending again.
  void forget_peer();

 private:
  std::list<std::uint64_t> newest_first_;
  std::unordered_map<std::uint64_t, std::list<std::uint64_t>::iterator> where_;
  std::unordered_set<std::uint64_t> peer_has_;
  std::uint64_t version_ = 0;
};

}  // namespace llorch
