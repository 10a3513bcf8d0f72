#include "worker/cache_record.h"

#include "base/limits.h"

namespace llorch {

void CacheRecord::finished(std::span<const std::uint64_t> chain) {
  if (chain.empty()) return;
  ++version_;
  // Last block first, so that the blocks all prompts share are the newest and leave last.
  for (auto entry = chain.rbegin(); entry != chain.rend(); ++entry) {
    if (const auto found = where_.find(*entry); found != where_.end()) {
      newest_first_.splice(newest_first_.begin(), newest_first_, found->second);
      continue;
    }
    newest_first_.push_front(*entry);
    where_[*entry] = newest_first_.begin();
    if (where_.size() > limits::heartbeat_cache_entries_max) {
      where_.erase(newest_first_.back());
      newest_first_.pop_back();
    }
  }
}

CacheChange CacheRecord::pending() const {
  CacheChange change{.version = version_, .added = {}, .removed = {}};
  for (const auto entry : newest_first_) {
    if (!peer_has_.contains(entry)) change.added.push_back(entry);
  }
  for (const auto entry : peer_has_) {
    if (!where_.contains(entry)) change.removed.push_back(entry);
  }
  return change;
}

void CacheRecord::taken(const CacheChange& change) {
  peer_has_.insert(change.added.begin(), change.added.end());
  for (const auto entry : change.removed) peer_has_.erase(entry);
}

void CacheRecord::forget_peer() {
  peer_has_.clear();
}

}  // namespace llorch
