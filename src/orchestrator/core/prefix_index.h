// Which worker has which beginning of a prompt computed: what we placed where, corrected by the
// workers' own beats. Bounded; the least recently used entry goes first.
// Threads: one owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "protocol/prefix_hash.h"

namespace llorch {

class PrefixIndex {
 public:
  explicit PrefixIndex(std::size_t entries_max) : entries_max_(entries_max) {}

  // The worker will have all of the chain.
  void placed(const std::string& worker, std::span<const PrefixHash> chain);
  void removed(const std::string& worker, std::span<const PrefixHash> hashes);
  void forget(const std::string& worker);  // it restarted, or is gone
  // Leading blocks of the chain that the worker has.
  std::size_t blocks(const std::string& worker, std::span<const PrefixHash> chain) const;
  std::size_t size() const { return entries_.size(); }

 private:
  struct Key {
    std::uint32_t worker;
    PrefixHash hash;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    std::size_t operator()(const Key& key) const noexcept {
      return key.hash ^ (std::uint64_t{key.worker} * 0x9e3779b97f4a7c15);
    }
  };
  std::uint32_t number_of(const std::string& worker);

  std::size_t entries_max_;
  std::uint32_t next_number_ = 0;
  std::unordered_map<std::string, std::uint32_t> numbers_;
  std::list<Key> by_use_;  // newest first
  std::unordered_map<Key, std::list<Key>::iterator, KeyHash> entries_;
};

}  // namespace llorch
