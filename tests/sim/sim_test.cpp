#include <cstdlib>
#include <gtest/gtest.h>
#include <iostream>
#include <string>

#include "sim/fleet_sim.h"

namespace llorch {
namespace {

std::uint64_t environment_number(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::string joined(const SimReport& report) {
  std::string out;
  for (const auto& rule : report.broken) out += rule + "\n";
  return out;
}

SimOptions options_of(std::uint64_t seed) {
  SimOptions options{.seed = seed};
  options.jobs = 60 + static_cast<int>(seed % 4) * 150;  // from idle to far more than it can do
  options.core.queue_capacity = seed % 3 == 0 ? 10 : 100;
  options.core.drop_lru = seed % 2 == 0;
  options.core.order = seed % 5 == 0 ? QueueOrder::fifo : QueueOrder::fair;
  options.core.stall_ms = 10'000;
  options.core.oldest_share = 0.5;  // a bound that so few jobs can reach
  options.fickle_policy = seed % 4 == 1;
  options.restarts = seed % 2 == 1 ? static_cast<int>(seed % 3) + 1 : 0;
  return options;
}

// LLORCH_TEST_SEED=N replays one; LLORCH_SIM_SEEDS=N tries so many.
TEST(FleetSim, KeepsEveryRuleWhateverBreaks) {
  const auto replayed = environment_number("LLORCH_TEST_SEED", 0);
  const auto first = replayed > 0 ? replayed : 1;
  const auto count = replayed > 0 ? 1 : environment_number("LLORCH_SIM_SEEDS", 1'000);
  int completed = 0, moves = 0, cancelled = 0, turned_away = 0;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const auto report = simulate(options_of(seed));
    ASSERT_TRUE(report.broken.empty()) << "seed " << seed << "\n" << joined(report);
    completed += report.completed;
    moves += report.moves;
    cancelled += report.cancelled;
    turned_away += report.refused + report.failed;
  }
  EXPECT_GT(completed, 0);
  if (count > 10) {
    EXPECT_GT(moves, 0) << "nothing ever broke";
    EXPECT_GT(cancelled, 0);
    EXPECT_GT(turned_away, 0) << "no queue was ever full";
  }
  std::cout << count << " fleets: " << completed << " jobs completed, " << moves << " moved, "
            << cancelled << " cancelled, " << turned_away << " refused or failed\n";
}

TEST(FleetSim, FindsEachPlantedFault) {
  for (int number = 1; number <= static_cast<int>(last_fault); ++number) {
    const auto fault = static_cast<Fault>(number);
    bool found = false;
    for (std::uint64_t seed = 1; seed <= 10 && !found; ++seed) {
      found = !simulate(options_of(seed), fault).broken.empty();
    }
    EXPECT_TRUE(found) << "fault " << number;
  }
}

TEST(FleetSim, GivesTheSameRunForTheSameSeed) {
  const auto once = simulate(options_of(7));
  const auto again = simulate(options_of(7));
  EXPECT_EQ(once.completed, again.completed);
  EXPECT_EQ(once.moves, again.moves);
  EXPECT_EQ(once.longest_wait_ms, again.longest_wait_ms);
}

}  // namespace
}  // namespace llorch
