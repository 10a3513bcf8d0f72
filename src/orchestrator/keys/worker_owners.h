// With which key each worker was registered: no other worker's key may speak for it.
// Of a worker whose owner is not known, the first one to speak is taken for it.
// Threads: the io thread. Pure.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "orchestrator/keys/identity.h"
#include "orchestrator/keys/key_ring.h"

namespace llorch {

class WorkerOwners {
 public:
  // A registration: an admin, or the owner's key, or any once the owner's key counts no more.
  // Errors: forbidden (the id is another's).
  Result<void> may_claim(const std::string& worker_id, const Identity& by, const KeyRing& keys,
                         std::int64_t wall_ms) const;
  Result<void> claim(const std::string& worker_id, const Identity& by, const KeyRing& keys,
                     std::int64_t wall_ms);
  // A beat or a farewell. Errors: forbidden.
  Result<void> check(const std::string& worker_id, const Identity& by);
  // Over a restart: the key's id, "" for an admin's; nullopt: not known, or keys were off.
  std::optional<std::string> owner(const std::string& worker_id) const;
  void restore(const std::string& worker_id, std::string owner) {
    owners_.insert_or_assign(worker_id, std::move(owner));
  }
  void forget(const std::string& worker_id) { owners_.erase(worker_id); }

 private:
  std::unordered_map<std::string, std::string> owners_;  // worker to key; "": an admin's
};

}  // namespace llorch
