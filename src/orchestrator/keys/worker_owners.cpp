#include "orchestrator/keys/worker_owners.h"

namespace llorch {
namespace {

std::unexpected<Error> fail_foreign(const std::string& worker_id, const Identity& by) {
  return fail(Code::forbidden, "worker " + worker_id + " was registered with another key than " +
                                   by.name() + ": give it another --worker-id, or revoke that key");
}

std::string owner_of(const Identity& by) {
  return by.is_admin() ? std::string() : by.key_id();
}

}  // namespace

Result<void> WorkerOwners::may_claim(const std::string& worker_id, const Identity& by,
                                     const KeyRing& keys, std::int64_t wall_ms) const {
  const auto known = owner(worker_id);
  if (!keys.is_on() || by.is_admin() || !known || *known == owner_of(by)) return {};
  const bool lapsed = !known->empty() && !keys.is_usable(*known, wall_ms);
  return lapsed ? Result<void>{} : fail_foreign(worker_id, by);
}

Result<void> WorkerOwners::claim(const std::string& worker_id, const Identity& by,
                                 const KeyRing& keys, std::int64_t wall_ms) {
  auto allowed = may_claim(worker_id, by, keys, wall_ms);
  if (allowed && keys.is_on()) owners_.insert_or_assign(worker_id, owner_of(by));
  return allowed;
}

std::optional<std::string> WorkerOwners::owner(const std::string& worker_id) const {
  const auto found = owners_.find(worker_id);
  return found == owners_.end() ? std::nullopt : std::optional(found->second);
}

Result<void> WorkerOwners::check(const std::string& worker_id, const Identity& by) {
  if (by.is_admin()) return {};
  const auto owner = owners_.try_emplace(worker_id, by.key_id()).first;
  if (owner->second == by.key_id()) return {};
  return fail_foreign(worker_id, by);
}

}  // namespace llorch
