// Snapshots of whole sequences of KV cells in memory, found by the longest beginning they share
// with a prompt. A snapshot serves every shorter beginning too: its tail is cut off once it is
// restored. Entries are sorted by their tokens, so the longest match is a neighbour of where the
// prompt would stand. Pure: no clock, no llama.h. Threads: belongs to the engine thread.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "protocol/job.h"

namespace llorch {

// How many tokens both begin with.
std::int64_t shared_tokens(std::span<const Token> a, std::span<const Token> b);

// Cells as llama.cpp writes them: bytes that only it understands.
struct KvState {
  std::unique_ptr<std::byte[]> bytes;
  std::size_t size = 0;
  std::span<const std::byte> view() const { return {bytes.get(), size}; }
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
  std::size_t size() const { return entries_.size(); }

 private:
  struct Key {
    std::string scope;
    std::vector<Token> tokens;
    auto operator<=>(const Key&) const = default;
  };
  struct Entry {
    KvState state;
    SteadyTime used_at;
  };
  using Entries = std::map<Key, Entry>;

  Entries::const_iterator nearest(const Key& key, std::int64_t& shared) const;
  static Match filled(Match match, Entries::const_iterator at);
  void erase(Entries::iterator at);
  double worth(Entries::iterator at, SteadyTime now);

  std::uint64_t bytes_max_;
  std::uint64_t bytes_ = 0;
  Entries entries_;
};

}  // namespace llorch
