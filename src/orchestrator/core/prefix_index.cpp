#include "orchestrator/core/prefix_index.h"

#include <algorithm>

namespace llorch {

PrefixIndex::Shelf& PrefixIndex::shelf_of(const std::string& worker) {
  const auto [found, added] = shelves_.try_emplace(worker);
  if (added) found->second.number = next_number_++;
  return found->second;
}

const PrefixIndex::Shelf* PrefixIndex::find(const std::string& worker) const {
  const auto found = shelves_.find(worker);
  return found == shelves_.end() ? nullptr : &found->second;
}

void PrefixIndex::use(Shelf& shelf, PrefixHash hash) {
  const Key key{shelf.number, hash};
  if (const auto known = entries_.find(key); known != entries_.end()) {
    by_use_.splice(by_use_.begin(), by_use_, known->second.in_all);
    shelf.by_use.splice(shelf.by_use.begin(), shelf.by_use, known->second.in_shelf);
    return;
  }
  by_use_.push_front(key);
  shelf.by_use.push_front(key);
  entries_.emplace(key, Place{by_use_.begin(), shelf.by_use.begin(), &shelf});
  if (entries_.size() > entries_max_) drop(by_use_.back());
}

void PrefixIndex::drop(const Key& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  const auto place = found->second;
  entries_.erase(found);
  place.shelf->by_use.erase(place.in_shelf);
  by_use_.erase(place.in_all);
}

void PrefixIndex::shrink(Shelf& shelf) {
  while (shelf.by_use.size() > shelf.holds) drop(Key(shelf.by_use.back()));
}

void PrefixIndex::placed(const std::string& worker, std::span<const PrefixHash> chain) {
  if (chain.empty()) return;
  auto& shelf = shelf_of(worker);
  // Backwards, so that the beginning of a chain is the newest: what is left of a chain that loses
  // entries is then still a beginning.
  for (auto hash = chain.rbegin(); hash != chain.rend(); ++hash) use(shelf, *hash);
  shrink(shelf);
}

void PrefixIndex::told(const std::string& worker, std::span<const PrefixHash> hashes) {
  if (hashes.empty()) return;
  auto& shelf = shelf_of(worker);
  for (auto hash = hashes.rbegin(); hash != hashes.rend(); ++hash) {
    // What we placed keeps its turn: the worker says when it ended, not when it was used. And what
    // is more than it holds has left it again since.
    const bool room = shelf.by_use.size() < shelf.holds;
    if (room && !entries_.contains({shelf.number, *hash})) use(shelf, *hash);
  }
}

void PrefixIndex::removed(const std::string& worker, std::span<const PrefixHash> hashes) {
  const auto* const shelf = find(worker);
  if (shelf == nullptr) return;
  for (const auto hash : hashes) drop({shelf->number, hash});
}

void PrefixIndex::forget(const std::string& worker) {
  const auto found = shelves_.find(worker);
  if (found == shelves_.end()) return;
  while (!found->second.by_use.empty()) drop(Key(found->second.by_use.back()));
  shelves_.erase(found);
}

std::size_t PrefixIndex::blocks(const std::string& worker,
                                std::span<const PrefixHash> chain) const {
  const auto* const shelf = find(worker);
  if (shelf == nullptr) return 0;
  // Each hash covers all before it, so the newest that is there answers for the rest.
  for (auto count = chain.size(); count > 0; --count) {
    if (entries_.contains({shelf->number, chain[count - 1]})) return count;
  }
  return 0;
}

PrefixIndex::Expected PrefixIndex::expect(const std::string& worker,
                                          std::span<const PrefixHash> chain) const {
  Expected expected{.blocks = blocks(worker, chain), .chain = chain.size(), .newer = 0};
  const auto* const shelf = find(worker);
  if (expected.blocks == 0 || shelf == nullptr) return expected;
  constexpr std::size_t looked_max = 8'192;  // deeper, a worker need not know how much it holds
  for (const auto& key : shelf->by_use) {
    if (key.hash == chain[0] || expected.newer == looked_max) break;
    ++expected.newer;
  }
  return expected;
}

void PrefixIndex::found(const std::string& worker, const Expected& expected, std::size_t blocks) {
  if (expected.chain == 0) return;
  auto& shelf = shelf_of(worker);
  constexpr double newest = 0.05;
  const auto share =
      std::min(static_cast<double>(blocks) / static_cast<double>(expected.chain), 1.0);
  reuse_ += newest * (share - reuse_);
  // Tokens do not end where blocks do, and a template's are not in the blocks.
  const auto inexact = 1 + expected.blocks / 8;
  if (blocks > expected.blocks + inexact) {
    // It holds more than was thought.
    if (shelf.holds != unknown) shelf.holds += blocks - expected.blocks;
    return;
  }
  if (blocks + inexact >= expected.blocks) return;
  // Just given to it by another job, which may not have got so far.
  if (expected.newer < expected.chain) return;
  shelf.holds = std::min(shelf.holds, std::max(expected.newer + blocks, expected.chain));
  shrink(shelf);
}

std::size_t PrefixIndex::displaced(const std::string& worker, std::size_t blocks) const {
  const auto* const shelf = find(worker);
  if (shelf == nullptr || shelf->holds == unknown) return 0;
  const auto room = shelf->holds - std::min(shelf->by_use.size(), shelf->holds);
  return std::min(blocks - std::min(blocks, room), shelf->by_use.size());
}

std::optional<std::size_t> PrefixIndex::kept(const std::string& worker) const {
  const auto* const shelf = find(worker);
  if (shelf == nullptr) return 0;
  if (shelf->holds != unknown) return std::nullopt;
  return shelf->by_use.size();
}

}  // namespace llorch
