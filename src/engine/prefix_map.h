// Values named by a scope and a sequence of tokens, found by the longest beginning they share with
// a prompt. Sorted by the tokens, so that the longest match is a neighbour of where the prompt
// would stand. Pure. Threads: one.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <iterator>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "protocol/job.h"

namespace llorch {

// How many tokens both begin with.
inline std::int64_t shared_tokens(std::span<const Token> a, std::span<const Token> b) {
  return std::ranges::mismatch(a, b).in1 - a.begin();
}

template <class Value>
class PrefixMap {
 public:
  struct Key {
    std::string scope;
    std::vector<Token> tokens;
    auto operator<=>(const Key&) const = default;
    std::int64_t size() const { return static_cast<std::int64_t>(tokens.size()); }
  };
  using Entries = std::map<Key, Value>;
  using Place = typename Entries::iterator;
  using ConstPlace = typename Entries::const_iterator;

  // The entry of the scope that shares most with the tokens. Shape: shared = 0 where there is none,
  // and `at` is then the end.
  template <class At>
  struct Nearest {
    At at;
    std::int64_t shared = 0;
  };
  Nearest<Place> nearest(const Key& key) { return nearest_in(entries_, key); }
  Nearest<ConstPlace> nearest(const Key& key) const { return nearest_in(entries_, key); }

  // Most tokens that the entry shares with any other of its scope.
  std::int64_t held_by_others(Place at) {
    std::int64_t most = 0;
    const auto look = [&](Place other) {
      if (other->first.scope != at->first.scope) return;
      most = std::max(most, shared_tokens(at->first.tokens, other->first.tokens));
    };
    if (at != entries_.begin()) look(std::prev(at));
    if (std::next(at) != entries_.end()) look(std::next(at));
    return most;
  }

  Place add(Key key, Value value) {
    return entries_.insert_or_assign(std::move(key), std::move(value)).first;
  }
  void erase(Place at) { entries_.erase(at); }
  Entries& entries() { return entries_; }
  const Entries& entries() const { return entries_; }

 private:
  template <class Map>
  static auto nearest_in(Map& entries, const Key& key) {
    Nearest<decltype(entries.begin())> best{entries.end(), 0};
    const auto look = [&](auto at) {
      if (at->first.scope != key.scope) return;
      const auto tokens = shared_tokens(key.tokens, at->first.tokens);
      if (tokens > best.shared) best = {at, tokens};
    };
    const auto after = entries.lower_bound(key);
    if (after != entries.end()) look(after);
    if (after != entries.begin()) look(std::prev(after));
    return best;
  }

  Entries entries_;
};

}  // namespace llorch
