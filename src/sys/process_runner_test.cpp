#include "sys/process_runner.h"

#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <signal.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "fakes/temporary_folder.h"
#include "sys/host.h"

namespace llorch {
namespace {

class Processes : public testing::Test {
 protected:
  std::unique_ptr<ProcessRunner> runner_ = make_process_runner();
};

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_F(Processes, ARunGivesBothStreamsAndTheStatus) {
  const auto outcome =
      runner_->run({.argv = {"sh", "-c", "echo out; echo err >&2; exit 3"}, .limit_ms = 20'000});
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(outcome->out, "out\n");
  EXPECT_EQ(outcome->err, "err\n");
  EXPECT_EQ(outcome->exit_status, 3);
  EXPECT_FALSE(outcome->timed_out);
}

TEST_F(Processes, ARunPastItsLimitIsKilledWithItsChildren) {
  // The grandchild holds stdout open: only killing the whole group ends the run.
  const auto outcome =
      runner_->run({.argv = {"sh", "-c", "echo begun; sleep 100 & sleep 100"}, .limit_ms = 300});
  ASSERT_TRUE(outcome);
  EXPECT_TRUE(outcome->timed_out);
  EXPECT_EQ(outcome->exit_status, -1);
  EXPECT_EQ(outcome->out, "begun\n");
}

TEST_F(Processes, OutputBeyondTheLimitIsDropped) {
  const auto outcome = runner_->run({.argv = {"sh", "-c", "head -c 300000 /dev/zero"},
                                     .limit_ms = 20'000,
                                     .output_bytes_max = 1000});
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->out.size(), 1000U);
  EXPECT_EQ(outcome->exit_status, 0);
}

TEST_F(Processes, AProgramThatIsNotThereIsNotFound) {
  for (const char* const name : {"llorch-no-such-program", "/nowhere/llorch-no-such-program"}) {
    const auto outcome = runner_->run({.argv = {name}, .limit_ms = 1'000});
    ASSERT_FALSE(outcome) << name;
    EXPECT_EQ(outcome.error().code, Code::not_found);
  }
}

TEST_F(Processes, ADetachedProcessHasItsOwnSessionItsLogAndItsVariables) {
  TemporaryFolder folder;
  const auto pid = runner_->spawn_detached({.argv = {"sh", "-c", "echo got $LLORCH_PROBE; cat"},
                                            .environment = {{"LLORCH_PROBE", "it"}},
                                            .log = folder / "log"});
  ASSERT_TRUE(pid) << pid.error().message;
  EXPECT_EQ(::getsid(*pid), *pid);
  ASSERT_EQ(::waitpid(*pid, nullptr, 0), *pid);  // `cat` ends: stdin is /dev/null
  EXPECT_EQ(text_of(folder / "log"), "got it\n");
}

// clause: P-28
TEST_F(Processes, WhatAPidIsCanBeToldFromLaterHolders) {
  const auto self = runner_->inspect(::getpid());
  ASSERT_TRUE(self);
  ASSERT_TRUE(self->has_value());
  EXPECT_EQ((*self)->name, "sys_test");
  EXPECT_FALSE((*self)->zombie);
  EXPECT_GT((*self)->start_time, 0U);

  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  siginfo_t ended{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT), 0);
  const auto zombie = runner_->inspect(child);
  ASSERT_TRUE(zombie && zombie->has_value());
  EXPECT_TRUE((*zombie)->zombie);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  const auto gone = runner_->inspect(child);
  ASSERT_TRUE(gone);
  EXPECT_FALSE(gone->has_value());
  EXPECT_EQ(runner_->signal(child, 0).error().code, Code::not_found);
}

TEST(Host, FactsOfThisMachineAreFilled) {
  const auto facts = read_host_facts();
  EXPECT_FALSE(facts.name.empty());
  EXPECT_GT(facts.memory_total_bytes, 0U);
  EXPECT_GE(facts.memory_total_bytes, facts.memory_available_bytes);
  EXPECT_GT(facts.open_files_max, 0U);
}

}  // namespace
}  // namespace llorch
