// What the tests of this folder share: workers to choose from, and scripts in one line.
// Threads: one.
#pragma once

#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fakes/fake_clock.h"
#include "policy/decision_record.h"
#include "policy/rhai_policy.h"

namespace llorch {

inline RecordedWorker test_worker(std::string id, double cost_ms = 100) {
  return {.id = std::move(id),
          .host = "host-1",
          .model = "qwen",
          .backend = "cpu",
          .slots_total = 4,
          .slots_free = 2,
          .cost_ms = cost_ms,
          .prefill_tokens_per_second = 500,
          .decode_tokens_per_second = 20,
          .memory_free_bytes = 1'000'000};
}

// Three workers that differ in everything a script can ask for.
inline std::vector<RecordedWorker> test_fleet() {
  auto a = test_worker("a", 300);
  a.slots_free = 0;
  a.queue_depth = 3;
  a.memory_free_bytes = 3'000'000;
  auto b = test_worker("b", 100);
  b.host = "host-2";
  b.backend = "cuda";
  b.slots_free = 1;
  b.cached_tokens = 40;
  b.memory_free_bytes = 1'000'000;
  auto c = test_worker("c", 200);
  c.host = "host-3";
  c.model = "phi3";
  c.slots_free = 4;
  c.memory_free_bytes = 2'000'000;
  return {a, b, c};
}

inline RecordedJob test_job() {
  return {.id = "job-7",
          .model = "qwen",
          .tenant = "acme",
          .session_id = "s-1",
          .priority = Priority::batch,
          .prompt_tokens_estimate = 120,
          .max_tokens = 64,
          .temperature = 0.5,
          .age_ms = 1'500,
          .attempt = 2};
}

// For scripts that mean no harm: the sanitizers make some calls slow.
inline constexpr ScriptLimits patient{.time_ms = limits::policy_time_ms_max};

// A loaded script, or a failed test.
inline std::unique_ptr<RhaiPolicy> loaded(std::string_view source, const Clock& clock,
                                          RhaiPolicyOptions options = {.limits = patient}) {
  auto policy = RhaiPolicy::load(source, clock, std::move(options));
  if (!policy) ADD_FAILURE() << policy.error().message << "\n" << source;
  return policy ? std::move(*policy) : nullptr;
}

// "fn schedule_job(job, workers) { BODY }"
inline std::string schedules(std::string_view body) {
  return "fn schedule_job(job, workers) { " + std::string(body) + " }";
}

}  // namespace llorch
