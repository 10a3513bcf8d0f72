// The policy that decides where no script does, and which script's answers do not stand.
// Threads: one owner, shared PlacementTurns included.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "policy/policy.h"

namespace llorch {

enum class PlacementMode { cost, least_loaded, round_robin };  // "least-loaded" on the wire
std::string_view wire_name(PlacementMode mode);
std::optional<PlacementMode> placement_mode_from_wire(std::string_view name);

// When each worker was last given a job, as a count: what round robin goes by. Workers may come and
// go without anybody's turn being lost. Shape: at most limits::policy_turns_max are remembered.
class PlacementTurns {
 public:
  void note(std::string_view worker_id);
  std::uint64_t of(std::string_view worker_id) const;  // 0: not remembered

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>{}(text);
    }
  };
  void forget_oldest();

  std::unordered_map<std::string, std::uint64_t, Hash, std::equal_to<>> turns_;
  std::uint64_t last_ = 0;
};

// Busy slots and waiting jobs, by slot: 1 is a worker with every slot taken and nobody waiting.
double load_of(const PolicyWorker& worker);

// Places by its mode; equally good workers by more free memory, then by longest without a job.
// Admits everything. Tries again after transient errors, limits::attempts_max tries in all.
class BuiltInPolicy final : public Policy {
 public:
  explicit BuiltInPolicy(PlacementMode mode = PlacementMode::cost,
                         std::shared_ptr<PlacementTurns> turns = nullptr);

  // Shape: never Kind::built_in; the same for the other two.
  Placement schedule_job(const PolicyJob& job, std::span<const PolicyWorker> workers) override;
  Admission should_admit(const PolicyJob& job, std::int64_t queue_depth) override;
  std::optional<bool> should_retry(const PolicyJob& job, std::uint32_t attempt,
                                   const PolicyError& error) override;

 private:
  PlacementMode mode_;
  std::shared_ptr<PlacementTurns> turns_;
};

}  // namespace llorch
