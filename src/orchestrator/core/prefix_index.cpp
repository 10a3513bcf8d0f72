#include "orchestrator/core/prefix_index.h"

namespace llorch {

std::uint32_t PrefixIndex::number_of(const std::string& worker) {
  const auto [found, added] = numbers_.try_emplace(worker, next_number_);
  if (added) ++next_number_;
  return found->second;
}

void PrefixIndex::placed(const std::string& worker, std::span<const PrefixHash> chain) {
  const auto number = number_of(worker);
  // Backwards, so that the beginning of a chain is the newest: what is left of a chain that loses
  // entries is then still a beginning.
  for (auto hash = chain.rbegin(); hash != chain.rend(); ++hash) {
    const Key key{number, *hash};
    if (const auto found = entries_.find(key); found != entries_.end()) {
      by_use_.splice(by_use_.begin(), by_use_, found->second);
      continue;
    }
    by_use_.push_front(key);
    entries_.emplace(key, by_use_.begin());
    if (entries_.size() <= entries_max_) continue;
    entries_.erase(by_use_.back());
    by_use_.pop_back();
  }
}

void PrefixIndex::removed(const std::string& worker, std::span<const PrefixHash> hashes) {
  const auto known = numbers_.find(worker);
  if (known == numbers_.end()) return;
  for (const auto hash : hashes) {
    const auto found = entries_.find({known->second, hash});
    if (found == entries_.end()) continue;
    by_use_.erase(found->second);
    entries_.erase(found);
  }
}

// Its entries are under a number that nobody asks for any more; they age out.
void PrefixIndex::forget(const std::string& worker) {
  numbers_.erase(worker);
}

std::size_t PrefixIndex::blocks(const std::string& worker,
                                std::span<const PrefixHash> chain) const {
  const auto known = numbers_.find(worker);
  if (known == numbers_.end()) return 0;
  // Each hash covers all before it, so the newest that is there answers for the rest.
  for (auto count = chain.size(); count > 0; --count) {
    if (entries_.contains({known->second, chain[count - 1]})) return count;
  }
  return 0;
}

}  // namespace llorch
