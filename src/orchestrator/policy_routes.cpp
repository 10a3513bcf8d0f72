// The routes of the policy: look, validate, deploy, roll back.
#include <utility>

#include "orchestrator/routes.h"
#include "protocol/json_text.h"

namespace llorch {
namespace {

void append_hooks(JsonObjectWriter& row, const HookSet& hooks) {
  JsonObjectWriter(row.key("hooks"))
      .boolean("schedule_job", hooks.schedule_job)
      .boolean("should_admit", hooks.should_admit)
      .boolean("should_retry", hooks.should_retry)
      .end();
}

std::string policy_text(const PolicyView& view) {
  std::string out;
  JsonObjectWriter row(out);
  row.string("path", view.path)
      .boolean("loaded", view.loaded)
      .string("source", view.source)
      .string("placement", view.placement)
      .boolean("resting", view.is_resting)
      .boolean("has_previous", view.has_previous);
  append_hooks(row, view.hooks);
  if (view.load_error) row.string("load_error", view.load_error->message);
  if (view.last_fault) row.string("last_fault", view.last_fault->fault.message);
  row.end();
  return out;
}

Task<void> reply_policy(Call& call) {
  auto body = policy_text(call.service.policy_host()->show());
  co_await reply_json(call, 200, std::move(body));
}

}  // namespace

Task<void> policy_route(Call& call) {
  co_await reply_policy(call);
}

Task<void> validate_policy_route(Call& call) {
  const auto hooks = call.service.policy_host()->validate(call.exchange.request().body);
  if (!hooks) co_return co_await reply_error(call, hooks.error());
  std::string body;
  JsonObjectWriter row(body);
  row.boolean("valid", true);
  append_hooks(row, *hooks);
  row.end();
  co_await reply_json(call, 200, std::move(body));
}

Task<void> deploy_policy_route(Call& call) {
  const auto deployed = call.service.policy_host()->deploy(call.exchange.request().body);
  if (!deployed) co_return co_await reply_error(call, deployed.error());
  co_await reply_policy(call);
}

Task<void> rollback_policy_route(Call& call) {
  const auto back = call.service.policy_host()->rollback();
  if (!back) co_return co_await reply_error(call, back.error());
  co_await reply_policy(call);
}

}  // namespace llorch
