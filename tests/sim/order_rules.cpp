#include "sim/order_rules.h"

#include <algorithm>

namespace llorch {

double OrderRules::cost(const JobSpec& spec) {
  constexpr double output_weight = 2;
  const auto prompt = static_cast<double>(spec.prompt_tokens_estimate);
  return prompt + output_weight * static_cast<double>(spec.max_tokens - spec.tokens_out);
}

void OrderRules::waits(const JobSpec& spec, Millis accepted_ms) {
  Waiting job{.tenant = spec.tenant,
              .model = spec.model,
              .interactive = spec.priority == Priority::interactive,
              .accepted_ms = accepted_ms,
              .arrival = arrivals_++,
              .cost = cost(spec)};
  for (const auto& [id, other] : waiting_) {
    if (other.tenant == job.tenant && other.model == job.model) job.older += other.cost;
  }
  waiting_.emplace(spec.id.value, std::move(job));
}

void OrderRules::excuse(const std::string& job) {
  const auto known = waiting_.find(job);
  if (known == waiting_.end()) return;
  for (auto& [id, other] : waiting_) {
    if (other.tenant == known->second.tenant && other.model == known->second.model) {
      other.excused = true;
    }
  }
}

std::optional<std::string> OrderRules::starts(
    const std::string& job, Millis now, const std::function<double(const std::string&)>& served) {
  const auto found = waiting_.find(job);
  if (found == waiting_.end()) return std::nullopt;  // it had begun before
  const auto started = found->second;
  waiting_.erase(found);
  charged_[started.tenant] += started.cost;
  std::optional<std::string> broken;
  for (auto& [id, other] : waiting_) {
    if (other.model != started.model || other.excused) continue;
    if (auto why = judge(started, other, now, served)) broken = *why + ": " + id + " by " + job;
  }
  return broken;
}

std::optional<std::string> OrderRules::judge(
    const Waiting& started, Waiting& other, Millis now,
    const std::function<double(const std::string&)>& served) {
  if (!urgent(started, now)) {
    if (other.interactive) return "a batch job starts before an interactive one";
    if (urgent(other, now)) return std::nullopt;
  } else if (!urgent(other, now)) {
    return std::nullopt;
  }
  if (other.tenant != started.tenant) {
    const auto before = served(started.tenant) - charged_[started.tenant];
    const bool fair = before <= served(other.tenant) + 2 * bounds_.largest;
    return fair ? std::nullopt : std::optional("a tenant is given more than one that waits");
  }
  if (started.arrival < other.arrival) return std::nullopt;
  other.overtaken += started.cost;
  auto most = (other.older + other.cost) / bounds_.oldest_share + bounds_.largest;
  if (!other.interactive && urgent(other, now)) most *= 2;  // it has stood in both lines
  const bool starved = other.overtaken > most;
  return starved ? std::optional("a job is overtaken for ever") : std::nullopt;
}

}  // namespace llorch
