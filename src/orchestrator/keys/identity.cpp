#include "orchestrator/keys/identity.h"

#include <algorithm>

namespace llorch {
namespace {

std::string_view role_name(Role role) {
  switch (role) {
    case Role::open:
      return "any";
    case Role::client:
      return "client";
    case Role::worker:
      return "worker";
    case Role::admin:
      return "admin";
  }
  return "admin";
}

bool same_role(StoredKey::Role has, Role wanted) {
  return wire_name(has) == role_name(wanted);
}

}  // namespace

std::string Identity::name() const {
  return key ? "key " + key->row.name + " (" + key->row.key_id + ")" : "the token";
}

Result<void> Identity::may_call(Role role) const {
  if (role == Role::open || is_admin() || same_role(key->row.role, role)) return {};
  return fail(Code::forbidden,
              name() + " has the role " + std::string(wire_name(key->row.role)) + "; this takes " +
                  (role == Role::admin ? "" : std::string(role_name(role)) + " or ") + "admin");
}

bool Identity::sees(std::string_view tenant) const {
  return is_admin() || tenant == key->row.tenant;
}

bool Identity::may_use(std::string_view model) const {
  return !key || key->models.empty() || std::ranges::count(key->models, model) > 0;
}

Result<Priority> Identity::priority(std::optional<Priority> asked) const {
  if (!key) return asked.value_or(Priority::interactive);
  if (!asked) return priority_from_wire(key->row.priority_default).value_or(Priority::batch);
  const bool above = *asked == Priority::interactive && key->row.priority_max == "batch";
  if (!above) return *asked;
  return fail(Code::forbidden, name() +
                                   " may send batch jobs only: leave the priority out, or ask "
                                   "for a key with the highest priority interactive");
}

Result<void> Identity::rule(TaskRequest& task) const {
  if (!task.tenant.empty() && !sees(task.tenant)) {
    return fail(Code::forbidden, name() + " is of tenant " + key->row.tenant +
                                     " and may not act for another: leave tenant out");
  }
  if (task.tenant.empty()) task.tenant = tenant();
  const auto allowed = priority(
      task.priority_given ? std::optional(task.batch ? Priority::batch : Priority::interactive)
                          : std::nullopt);
  if (!allowed) return fail(allowed.error());
  task.batch = *allowed == Priority::batch;
  return {};
}

}  // namespace llorch
