// How long one decision takes over 64 workers: p50, p99 and the worst, for good and bad scripts.
//   llorch-policy-bench [DECISIONS]
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <fmt/format.h>
#include <string>
#include <vector>

#include "base/clock.h"
#include "policy/decision_record.h"
#include "policy/rhai_policy.h"

namespace {

using namespace llorch;

constexpr int workers_offered = 64;

std::vector<RecordedWorker> fleet() {
  std::vector<RecordedWorker> workers;
  for (int i = 0; i < workers_offered; ++i) {
    workers.push_back({.id = "worker-cuda-" + std::to_string(i),
                       .host = "host-" + std::to_string(i / 8),
                       .model = i % 2 == 0 ? "qwen" : "mistral",
                       .backend = i % 4 == 0 ? "cpu" : "cuda",
                       .slots_total = 8,
                       .slots_free = i % 9,
                       .queue_depth = i % 5,
                       .cost_ms = 100.0 + i * 37 % 64,
                       .memory_free_bytes = 1'000'000 + i});
  }
  return workers;
}

struct Figures {
  double p50_us = 0, p99_us = 0, worst_us = 0;
};

Figures figures_of(std::vector<double> took_us) {
  std::ranges::sort(took_us);
  return {.p50_us = took_us[took_us.size() / 2],
          .p99_us = took_us[took_us.size() * 99 / 100],
          .worst_us = took_us.back()};
}

double wall_us() {
  return std::chrono::duration<double, std::micro>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// What a failing script costs is processor time: beside others the wall clock counts theirs too.
double processor_us() {
  struct timespec spent{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
  return static_cast<double>(spent.tv_sec) * 1e6 + static_cast<double>(spent.tv_nsec) / 1e3;
}

std::vector<double> measure(Policy& policy, int decisions, double (*now_us)()) {
  const auto workers = fleet();
  const auto views = views_of(workers);
  const RecordedJob job{.id = "job-1", .model = "qwen", .tenant = "acme"};
  std::vector<double> took_us;
  for (int i = 0; i < decisions; ++i) {
    const double start_us = now_us();
    (void)policy.schedule_job(view_of(job), views);
    took_us.push_back(now_us() - start_us);
  }
  return took_us;
}

void print(std::string_view name, const Figures& figures) {
  fmt::print("{:<44} p50 {:8.1f} us  p99 {:8.1f} us  worst {:8.1f} us\n", name, figures.p50_us,
             figures.p99_us, figures.worst_us);
}

struct Script {
  const char* name;
  const char* body;
  bool fails = false;
};
constexpr Script scripts[] = {
    {"native: best(job)", "workers.best(job)"},
    {"native: idle, backend, least_loaded", "workers.idle().on_backend(\"cuda\").least_loaded()"},
    {"native: with_model, round_robin", "workers.with_model(job.model).round_robin()"},
    {"closure: filter one field", "workers.filter(|w| w.slots_free > 0).best(job)"},
    {"closure: filter with a captured job", "workers.filter(|w| w.model == job.model).best(job)"},
    {"closure: min_by with arithmetic",
     "workers.min_by(|w| w.cost_ms(job) + w.queue_depth * 10.0)"},
    {"loop: for over all",
     "let best = (); for w in workers { if w.queue_depth == 0 { best = w; } } best"},
    {"fails: loops for ever", "loop {}", true},
    {"fails: throws", "throw \"no\"", true},
    {"fails: string without end", "let s = \"x\"; loop { s += s; }", true},
    {"fails: long strings over and over", "let s = \"\"; s.pad(60000, \"x\"); loop { s + \"y\"; }",
     true},
    {"fails: splits a long string",
     "let s = \"\"; s.pad(65000, \"x\"); loop { try { s.split(\"\"); } catch {} }", true},
    {"fails: recursion", "schedule_job(job, workers)", true},
    {"fails: nonsense", "7", true}};

}  // namespace

int main(int argc, char** argv) {
  const int decisions = argc > 1 ? std::max(std::atoi(argv[1]), 100) : 20'000;
  const SystemClock clock;
  fmt::print(
      "{} workers, {} decisions each in wall time; {} of a failing script in processor time\n",
      workers_offered, decisions, decisions / 100);
  BuiltInPolicy built_in;
  print("built-in: cost", figures_of(measure(built_in, decisions, wall_us)));
  for (const auto& [name, body, fails] : scripts) {
    const auto source = "fn schedule_job(job, workers) { " + std::string(body) + " }";
    // A failing one is fresh each time: one that rests would answer at once.
    const int fresh = fails ? decisions / 100 : 1;
    std::vector<double> took_us;
    for (int i = 0; i < fresh; ++i) {
      const auto policy = RhaiPolicy::load(source, clock);
      if (!policy) {
        fmt::print(stderr, "error: {}: {}\n", name, policy.error().message);
        return exit_failure;
      }
      const auto more =
          fails ? measure(**policy, 1, processor_us) : measure(**policy, decisions, wall_us);
      took_us.insert(took_us.end(), more.begin(), more.end());
    }
    print(name, figures_of(std::move(took_us)));
  }
  return exit_ok;
}
