#include "policy/built_in.h"

#include <algorithm>
#include <cassert>
#include <tuple>
#include <utility>

#include "base/limits.h"
#include "base/result.h"

namespace llorch {

std::string_view wire_name(PlacementMode mode) {
  switch (mode) {
    case PlacementMode::cost:
      return "cost";
    case PlacementMode::least_loaded:
      return "least-loaded";
    case PlacementMode::round_robin:
      return "round-robin";
  }
  return "cost";
}

std::optional<PlacementMode> placement_mode_from_wire(std::string_view name) {
  for (const auto mode :
       {PlacementMode::cost, PlacementMode::least_loaded, PlacementMode::round_robin}) {
    if (wire_name(mode) == name) return mode;
  }
  return std::nullopt;
}

void PlacementTurns::note(std::string_view worker_id) {
  const auto found = turns_.find(worker_id);
  if (found != turns_.end()) {
    found->second = ++last_;
    return;
  }
  if (turns_.size() >= limits::policy_turns_max) forget_oldest();
  turns_.emplace(worker_id, ++last_);
}

std::uint64_t PlacementTurns::of(std::string_view worker_id) const {
  const auto found = turns_.find(worker_id);
  return found == turns_.end() ? 0 : found->second;
}

void PlacementTurns::forget_oldest() {
  const auto older = [](const auto& a, const auto& b) { return a.second < b.second; };
  turns_.erase(std::ranges::min_element(turns_, older));
}

double load_of(const PolicyWorker& worker) {
  const auto jobs = worker.slots_total - worker.slots_free + worker.queue_depth;
  return static_cast<double>(jobs) / std::max(worker.slots_total, 1);
}

BuiltInPolicy::BuiltInPolicy(PlacementMode mode, std::shared_ptr<PlacementTurns> turns)
    : mode_(mode), turns_(turns ? std::move(turns) : std::make_shared<PlacementTurns>()) {}

Placement BuiltInPolicy::schedule_job(const PolicyJob&, std::span<const PolicyWorker> workers) {
  assert(!workers.empty());
  const auto key = [this](const PolicyWorker& worker) -> double {
    switch (mode_) {
      case PlacementMode::least_loaded:
        return load_of(worker);
      case PlacementMode::round_robin:
        return static_cast<double>(turns_->of(worker.id));
      case PlacementMode::cost:
        break;
    }
    return worker.cost_ms;
  };
  std::size_t best = 0;
  double best_key = key(workers[0]);
  for (std::size_t i = 1; i < workers.size(); ++i) {
    const double this_key = key(workers[i]);
    if (this_key > best_key) continue;
    const auto memory = workers[i].memory_free_bytes <=> workers[best].memory_free_bytes;
    const bool better = this_key < best_key || memory > 0 ||
                        (memory == 0 && turns_->of(workers[i].id) < turns_->of(workers[best].id));
    if (better) std::tie(best, best_key) = std::pair(i, this_key);
  }
  turns_->note(workers[best].id);
  return {.kind = Placement::Kind::worker,
          .worker = best,
          .reason = {},
          .decided_by = "built-in " + std::string(wire_name(mode_))};
}

Admission BuiltInPolicy::should_admit(const PolicyJob&, std::int64_t) {
  return {.kind = Admission::Kind::admit, .reason = {}};
}

std::optional<bool> BuiltInPolicy::should_retry(const PolicyJob&, std::uint32_t attempt,
                                                const PolicyError& error) {
  if (attempt >= limits::attempts_max) return false;
  if (error.kind != "backend" && error.kind != "internal") return true;
  const auto code = code_from_wire(error.code);
  return code && is_retriable(*code);
}

}  // namespace llorch
