// Processes that a test makes up: what runs print, what a pid is, which signals arrive.
// Threads: one.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "sys/process_runner.h"

namespace llorch {

class FakeProcessRunner final : public ProcessRunner {
 public:
  // Answers of run(), by argv[0]'s file name; others are not found.
  std::map<std::string, std::function<Result<RunOutcome>(const RunRequest&)>> programs;
  std::map<Pid, ProcessFacts> processes;
  std::map<Pid, Error> hidden;  // inspect() fails with this
  std::vector<std::pair<Pid, int>> signals;
  std::function<void(Pid, int)> on_signal;
  std::vector<SpawnRequest> spawned;
  std::function<Result<Pid>(const SpawnRequest&)> on_spawn;

  Result<RunOutcome> run(const RunRequest& request) override {
    const std::string name = std::filesystem::path(request.argv.front()).filename();
    const auto found = programs.find(name);
    if (found == programs.end()) return fail(Code::not_found, name + ": no such program in PATH");
    return found->second(request);
  }
  Result<Pid> spawn_detached(const SpawnRequest& request) override {
    spawned.push_back(request);
    if (on_spawn) return on_spawn(request);
    const Pid pid = 1000 + static_cast<Pid>(spawned.size());
    processes[pid] = {.name = "llorch-candled", .start_time = 77};
    return pid;
  }
  Result<std::optional<ProcessFacts>> inspect(Pid pid) override {
    if (const auto found = hidden.find(pid); found != hidden.end()) return fail(found->second);
    const auto found = processes.find(pid);
    if (found == processes.end()) return std::optional<ProcessFacts>{};
    return std::optional(found->second);
  }
  Result<void> signal(Pid pid, int number) override {
    if (!processes.contains(pid)) return fail(Code::not_found, "no such process");
    signals.emplace_back(pid, number);
    if (on_signal) on_signal(pid, number);
    return {};
  }
};

}  // namespace llorch
