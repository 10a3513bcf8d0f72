// Who sent a request, and what that lets them do: roles, tenants, models, priorities.
// Pure values. Threads: any.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "policy/policy.h"
#include "protocol/task_request.h"
#include "store/rows.h"

namespace llorch {

// Who may call a route. `open`: anyone, without a key; the others: keys of that role, and admins.
enum class Role { open, client, worker, admin };

struct Key {
  StoredKey row;
  std::vector<std::string> models;  // empty: all
};

struct Identity {
  // Null: no keys are on, or it is the token of orchestratord's own environment. Both may do all.
  std::shared_ptr<const Key> key = nullptr;

  // "key ci (k1a2b3)", for messages.
  std::string name() const;
  std::string key_id() const { return key ? key->row.key_id : std::string(); }
  bool is_admin() const { return !key || key->row.role == StoredKey::Role::admin; }
  // Errors: forbidden.
  Result<void> may_call(Role role) const;
  // Whether it may see and change the jobs of this tenant.
  bool sees(std::string_view tenant) const;
  // Of jobs that name none.
  std::string tenant() const { return key ? key->row.tenant : std::string(); }
  bool may_use(std::string_view model) const;
  // `asked`: what the request says; nullopt: nothing. Errors: forbidden (above its highest).
  Result<Priority> priority(std::optional<Priority> asked) const;
  // The tenant and priority of a task become those it may have.
  // Errors: forbidden (another tenant, a priority above its highest).
  Result<void> rule(TaskRequest& task) const;
};

}  // namespace llorch
