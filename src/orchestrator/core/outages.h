// How long a model is usually without a worker, so that a refused client can be told when to come
// back. Threads: one owner. Pure.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/limits.h"
#include "orchestrator/core/job.h"

namespace llorch {

class Outages {
 public:
  // Called whenever it may have changed.
  void note(const std::string& model, bool served, Millis now) {
    if (!models_.contains(model) && models_.size() >= limits::estimates_max) return;
    auto& known = models_[model];
    if (!served && !known.since_ms && known.was_served) known.since_ms = now;
    if (served && known.since_ms) {
      const auto lasted = static_cast<double>(now - *known.since_ms);
      known.mean_ms = known.mean_ms ? *known.mean_ms + newest * (lasted - *known.mean_ms) : lasted;
      known.since_ms.reset();
    }
    known.was_served = known.was_served || served;
  }

  // nullopt: it is served, or was never seen to come back.
  std::optional<Millis> left_ms(const std::string& model, Millis now) const {
    const auto known = models_.find(model);
    if (known == models_.end()) return std::nullopt;
    const auto& since_ms = known->second.since_ms;
    const auto& mean_ms = known->second.mean_ms;
    if (!since_ms || !mean_ms) return std::nullopt;
    const auto spent = static_cast<double>(now - *since_ms);
    // One that lasts longer than usual: as long again, until it is over.
    const auto left = spent < *mean_ms ? *mean_ms - spent : spent;
    return static_cast<Millis>(left);
  }

 private:
  static constexpr double newest = 0.3;  // restarts change with each release
  struct Model {
    bool was_served = false;
    std::optional<Millis> since_ms;
    std::optional<double> mean_ms;
  };
  std::unordered_map<std::string, Model> models_;
};

}  // namespace llorch
