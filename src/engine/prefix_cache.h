// Snapshots of whole sequences of KV cells in memory, found by the longest beginning they share
// with a prompt. A snapshot serves every shorter beginning too: its tail is cut off once it is
// restored. Pure: no clock, no llama.h. Threads: belongs to the engine thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/prefix_map.h"
#include "protocol/job.h"

namespace llorch {

// Cells as llama.cpp writes them: bytes that only it understands. Copies share them; nobody writes
// to them once they are filled.
struct KvState {
  std::shared_ptr<std::byte[]> bytes;
  std::size_t size = 0;
  std::span<const std::byte> view() const { return {bytes.get(), size}; }
};

// A state and the tokens whose cells it holds.
struct KvSnapshot {
  std::string scope;
  std::vector<Token> tokens;
  KvState state;
};

class PrefixCache {
 public:
  // `bytes_max` bounds the states and the tokens that name them; 0 = nothing is kept.
  explicit PrefixCache(std::uint64_t bytes_max) : bytes_max_(bytes_max) {}

  struct Match {
    std::int64_t shared = 0;           // tokens that prompt and snapshot begin with; 0 = none
    std::int64_t tokens = 0;           // all of the snapshot
    std::span<const std::byte> state;  // until the next put()
  };
  // The snapshot of that scope that shares most with the prompt.
  Match find(const std::string& scope, std::span<const Token> prompt) const;
  // The same, and the snapshot counts as used.
  Match use(const std::string& scope, std::span<const Token> prompt, SteadyTime now);

  // Keeps a snapshot; what it contains as a whole is dropped, and then, until all fits, whatever is
  // worth least: tokens that no other snapshot has, by the time since it was used. One that would
  // not fit alone, or says nothing new, is not kept.
  void put(const std::string& scope, std::vector<Token> tokens, KvState state, SteadyTime now);
  // Whether a state of that size could be kept at all.
  bool could_keep(std::uint64_t bytes) const { return bytes > 0 && bytes <= bytes_max_; }

  std::uint64_t bytes() const { return bytes_; }
  std::size_t size() const { return entries_.entries().size(); }
  // All that is kept, the last used first.
  std::vector<KvSnapshot> all() const;

 private:
  struct Entry {
    KvState state;
    SteadyTime used_at;
  };
  using Entries = PrefixMap<Entry>;

  static Match filled(std::int64_t shared, Entries::ConstPlace at);
  void erase(Entries::Place at);
  double worth(Entries::Place at, SteadyTime now);
  void make_room(Entries::Place but, SteadyTime now);

  std::uint64_t bytes_max_;
  std::uint64_t bytes_ = 0;
  Entries entries_;
};

}  // namespace llorch
