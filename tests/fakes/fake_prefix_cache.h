// The prefix cache of a fake engine: which blocks of prompts it has computed, the least recently
// used ones leaving first, the end of a prompt before its beginning. Pure. Threads: one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <list>
#include <unordered_map>
#include <vector>

#include "protocol/prefix_hash.h"

namespace llorch {

class FakePrefixCache {
 public:
  explicit FakePrefixCache(std::size_t blocks_max) : blocks_max_(blocks_max) {}

  // Leading blocks of the chain that are there; they count as used now.
  std::size_t find(const std::vector<PrefixHash>& chain) {
    std::size_t found = 0;
    while (found < chain.size() && where_.contains(chain[found])) ++found;
    for (std::size_t i = found; i-- > 0;) touch(chain[i]);
    return found;
  }

  void computed(const std::vector<PrefixHash>& chain) {
    for (auto block = chain.rbegin(); block != chain.rend(); ++block) touch(*block);
    while (where_.size() > blocks_max_) {
      where_.erase(by_use_.back());
      by_use_.pop_back();
    }
  }

 private:
  void touch(PrefixHash block) {
    if (const auto known = where_.find(block); known != where_.end()) {
      by_use_.splice(by_use_.begin(), by_use_, known->second);
      return;
    }
    by_use_.push_front(block);
    where_.emplace(block, by_use_.begin());
  }

  std::size_t blocks_max_;
  std::list<PrefixHash> by_use_;  // newest first
  std::unordered_map<PrefixHash, std::list<PrefixHash>::iterator> where_;
};

}  // namespace llorch
