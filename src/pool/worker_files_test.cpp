#include "pool/worker_files.h"

#include <gtest/gtest.h>
#include <signal.h>

#include "fakes/pool_world.h"
#include "pool/worker_stop.h"

namespace llorch {
namespace {

class Workers : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(world_.context.root.workers()); }

  WorkerRecord add(const std::string& id, Pid pid, std::optional<std::uint64_t> start_time) {
    WorkerRecord record{.worker_id = id,
                        .pid = pid,
                        .pid_start_time = start_time,
                        .model = "smollm2",
                        .backend = "cpu",
                        .port = 8001,
                        .host = "127.0.0.1",
                        .status = "ready"};
    EXPECT_TRUE(write_worker_file(world_.context, record));
    world_.folder.write(".runtime/workers/" + id + ".log", "said\n");
    return record;
  }
  bool has_file(const std::string& id) {
    return world_.files.exists(worker_file(world_.context.root, id));
  }

  PoolWorld world_;
};

// clause: P-27, P-28
TEST_F(Workers, CleanupDeletesExactlyTheFilesOfProcessesThatAreGone) {
  struct Case {
    const char* name;
    const char* id;
    std::optional<ProcessFacts> process;
    std::optional<std::uint64_t> recorded_start;
    bool orphan;
  };
  const Case cases[] = {
      {"alive", "worker-cpu-a", ProcessFacts{"llorch-candled", false, 50}, 50, false},
      {"no such pid", "worker-cpu-b", std::nullopt, 50, true},
      {"a zombie", "worker-cpu-c", ProcessFacts{"llorch-candled", true, 50}, 50, true},
      {"pid reused by another program", "worker-cpu-d", ProcessFacts{"bash", false, 90}, 50, true},
      {"pid reused by another worker", "worker-cpu-e", ProcessFacts{"llorch-candled", false, 90},
       50, true},
      {"no start time, our name", "worker-cpu-f", ProcessFacts{"llorch-candled", false, 90},
       std::nullopt, false},
      {"no start time, another name", "worker-cpu-g", ProcessFacts{"bash", false, 90}, std::nullopt,
       true},
  };
  Pid pid = 100;
  for (const auto& each : cases) {
    if (each.process)
      world_.processes.processes[++pid] = *each.process;
    else
      ++pid;
    add(each.id, pid, each.recorded_start);
  }
  const auto cleanup = clean_up_workers(world_.context);
  std::vector<std::string> want;
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    if (each.orphan) want.emplace_back(each.id);
    EXPECT_EQ(has_file(each.id), !each.orphan);
    EXPECT_TRUE(
        world_.files.exists(world_.context.root.workers() / (std::string(each.id) + ".log")));
  }
  EXPECT_EQ(cleanup.orphans, want);
  EXPECT_TRUE(cleanup.warnings.empty());
}

// clause: P-29
TEST_F(Workers, CleanupLeavesUnreadableFilesAndWarns) {
  world_.folder.write(".runtime/workers/worker-cpu-x.json", "{ not json");
  world_.folder.write(".runtime/workers/worker-cpu-y.json", "{\"worker_id\":\"worker-cpu-y\"}");
  world_.folder.write(".runtime/workers/worker-cpu-z.json",
                      "{\"worker_id\":\"../../etc\",\"pid\":1}");
  const auto cleanup = clean_up_workers(world_.context);
  EXPECT_TRUE(cleanup.orphans.empty());
  EXPECT_EQ(cleanup.warnings.size(), 3U);
  EXPECT_TRUE(has_file("worker-cpu-x"));
  EXPECT_TRUE(has_file("worker-cpu-y"));
}

TEST_F(Workers, WhatTheSystemHidesCountsAsAlive) {
  add("worker-cpu-a", 7, 50);
  world_.processes.hidden[7] = Error{.code = Code::internal, .message = "hidden"};
  EXPECT_TRUE(clean_up_workers(world_.context).orphans.empty());
  EXPECT_TRUE(has_file("worker-cpu-a"));
}

TEST_F(Workers, AFileThatCannotBeDeletedIsAWarningAndNotCounted) {
  add("worker-cpu-a", 7, 50);
  world_.files.fault = [](std::string_view operation, const FileSystem::Path&) {
    return operation == "remove" ? std::optional(Error{.code = Code::forbidden, .message = "no"})
                                 : std::nullopt;
  };
  const auto cleanup = clean_up_workers(world_.context);
  EXPECT_TRUE(cleanup.orphans.empty());
  EXPECT_EQ(cleanup.warnings.size(), 1U);
}

TEST_F(Workers, NoFolderMeansNoWorkers) {
  std::filesystem::remove_all(world_.context.root.workers());
  EXPECT_TRUE(clean_up_workers(world_.context).orphans.empty());
  EXPECT_TRUE(list_workers(world_.context).workers.empty());
}

// clause: P-26
TEST_F(Workers, StopDrainsThenKillsAndDeletesTheFileOnly) {
  struct Case {
    const char* name;
    int dies_of;  // 0 = of nothing
    std::vector<int> signals;
    std::optional<StopOutcome> want;
  };
  const Case cases[] = {{"drains", SIGTERM, {SIGTERM}, StopOutcome::drained},
                        {"hangs", SIGKILL, {SIGTERM, SIGKILL}, StopOutcome::killed},
                        {"survives", 0, {SIGTERM, SIGKILL}, std::nullopt}};
  for (const auto& [name, dies_of, signals, want] : cases) {
    SCOPED_TRACE(name);
    const auto record = add("worker-cpu-a", 7, 50);
    world_.processes.processes[7] = {"llorch-candled", false, 50};
    world_.processes.signals.clear();
    world_.processes.on_signal = [&, deadly = dies_of](Pid pid, int number) {
      if (number == deadly) world_.processes.processes.erase(pid);
    };
    const auto stopped = stop_worker(world_.context, record);
    ASSERT_EQ(stopped.has_value(), want.has_value());
    if (want)
      EXPECT_EQ(*stopped, *want);
    else
      EXPECT_EQ(stopped.error().code, Code::timeout);
    std::vector<int> sent;
    for (const auto& [pid, number] : world_.processes.signals) sent.push_back(number);
    EXPECT_EQ(sent, signals);
    EXPECT_EQ(has_file("worker-cpu-a"), !want);
    EXPECT_TRUE(world_.files.exists(world_.context.root.workers() / "worker-cpu-a.log"));
  }
}

// clause: P-26
TEST_F(Workers, SeveralAreAskedAtOnceAndShareOneTimeToDrain) {
  // They were stopped one after the other: three busy ones took three drains.
  std::vector<WorkerRecord> records;
  for (const Pid pid : {7, 8, 9}) {
    records.push_back(add("worker-cpu-" + std::to_string(pid), pid, 50));
    world_.processes.processes[pid] = {"llorch-candled", false, 50};
  }
  world_.processes.on_signal = [&](Pid pid, int number) {
    const bool drains = number == SIGTERM && pid != 9;
    if (drains || number == SIGKILL) world_.processes.processes.erase(pid);
  };
  const auto outcomes = stop_workers(world_.context, records);
  ASSERT_EQ(outcomes.size(), 3U);
  EXPECT_EQ(outcomes[0], StopOutcome::drained);
  EXPECT_EQ(outcomes[1], StopOutcome::drained);
  EXPECT_EQ(outcomes[2], StopOutcome::killed);
  const std::vector<std::pair<Pid, int>> sent = {
      {7, SIGTERM}, {8, SIGTERM}, {9, SIGTERM}, {9, SIGKILL}};
  EXPECT_EQ(world_.processes.signals, sent);
  EXPECT_LE(world_.waited_ms, 36'000);
  EXPECT_EQ(world_.said, std::vector<std::string>{"waiting for 1 worker to finish"});
}

TEST_F(Workers, AQuickStopSaysNothing) {
  const auto record = add("worker-cpu-a", 7, 50);
  world_.processes.processes[7] = {"llorch-candled", false, 50};
  world_.processes.on_signal = [&](Pid pid, int) { world_.processes.processes.erase(pid); };
  EXPECT_EQ(stop_worker(world_.context, record), StopOutcome::drained);
  EXPECT_TRUE(world_.said.empty());
}

// clause: P-28
TEST_F(Workers, StopNeverSignalsAnotherProcessThatHasThePid) {
  const auto record = add("worker-cpu-a", 7, 50);
  world_.processes.processes[7] = {"postgres", false, 90};
  EXPECT_EQ(stop_worker(world_.context, record), StopOutcome::was_gone);
  EXPECT_TRUE(world_.processes.signals.empty());
  EXPECT_FALSE(has_file("worker-cpu-a"));
}

// clause: P-23
TEST_F(Workers, TheFileHoldsTheFieldsOfTheContract) {
  add("worker-cpu-a", 7, 50);
  const auto text = world_.files.read(worker_file(world_.context.root, "worker-cpu-a"), 10'000);
  ASSERT_TRUE(text);
  for (const char* const key : {"worker_id", "pid", "pid_start_time", "model", "backend", "gpu",
                                "port", "host", "spawned_at", "status", "log"}) {
    EXPECT_NE(text->find("\"" + std::string(key) + "\""), std::string::npos) << key;
  }
}

}  // namespace
}  // namespace llorch
