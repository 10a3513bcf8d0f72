// Which worker has which beginning of a prompt computed: what we placed where, corrected by the
// workers' own beats and by what each job found there. How much a worker's cache holds is learnt
// from the latter: a beginning that was lost lay deeper than the cache is. Bounded; the least
// recently used entry goes first.
// Threads: one owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <list>
#include <optional>
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
  // It says that it has these, newest first.
  void told(const std::string& worker, std::span<const PrefixHash> hashes);
  void removed(const std::string& worker, std::span<const PrefixHash> hashes);
  void forget(const std::string& worker);  // it restarted, or is gone
  // Leading blocks of the chain that the worker has.
  std::size_t blocks(const std::string& worker, std::span<const PrefixHash> chain) const;

  // What was expected of a worker when a job was given to it.
  struct Expected {
    std::size_t blocks = 0;
    std::size_t chain = 0;  // blocks of the whole prompt
    std::size_t newer = 0;  // blocks the worker has used since it used these
  };
  // Before placed().
  Expected expect(const std::string& worker, std::span<const PrefixHash> chain) const;
  // So many leading blocks were really there.
  void found(const std::string& worker, const Expected& expected, std::size_t blocks);

  std::size_t size() const { return entries_.size(); }
  // Blocks of a worker that has lost none yet; nullopt: it is known how much it holds.
  std::optional<std::size_t> kept(const std::string& worker) const;
  // Blocks that the worker would lose by computing so many more; 0 while it has lost none.
  std::size_t displaced(const std::string& worker, std::size_t blocks) const;
  // How much of a prompt has lately been found where it was sent: what a kept block is worth.
  double reuse() const { return reuse_; }

 private:
  static constexpr std::size_t unknown = std::numeric_limits<std::size_t>::max();
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
  struct Shelf {  // of one worker
    std::uint32_t number = 0;
    std::list<Key> by_use;  // newest first
    std::size_t holds = unknown;
  };
  struct Place {
    std::list<Key>::iterator in_all;
    std::list<Key>::iterator in_shelf;
    Shelf* shelf;
  };
  Shelf& shelf_of(const std::string& worker);
  const Shelf* find(const std::string& worker) const;
  void use(Shelf& shelf, PrefixHash hash);
  void drop(const Key& key);
  void shrink(Shelf& shelf);

  std::size_t entries_max_;
  double reuse_ = 0;  // running mean
  std::uint32_t next_number_ = 0;
  std::unordered_map<std::string, Shelf> shelves_;  // never moves a shelf
  std::list<Key> by_use_;                           // newest first
  std::unordered_map<Key, Place, KeyHash> entries_;
};

}  // namespace llorch
