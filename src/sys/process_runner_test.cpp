#include "sys/process_runner.h"

#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "fakes/temporary_folder.h"
#include "sys/host.h"
#include "sys/interrupt.h"

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

// A process that is reaped between open and read of its /proc entry ended the caller by an
// exception.
TEST_F(Processes, OneThatIsReapedWhileItIsLookedAtIsGoneAndNoException) {
  for (int round = 0; round < 200; ++round) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    std::thread reaper([child] { ::waitpid(child, nullptr, 0); });
    bool seen = true;
    while (seen) {
      const auto facts = runner_->inspect(child);
      seen = facts && facts->has_value();
    }
    reaper.join();
  }
}

TEST_F(Processes, StdinIsEmptyOrHeldOpenOrAFile) {
  const auto outcome_of = [&](RunRequest request) {
    request.argv = {"sh", "-c", "cat; echo end"};
    auto outcome = runner_->run(request);
    EXPECT_TRUE(outcome) << (outcome ? "" : outcome.error().message);
    return outcome.value_or(RunOutcome{});
  };
  EXPECT_EQ(outcome_of({.limit_ms = 20'000}).out, "end\n");
  const auto held = outcome_of({.limit_ms = 300, .hold_stdin = true});
  EXPECT_TRUE(held.timed_out);
  EXPECT_EQ(held.out, "");
  const TemporaryFolder folder;
  const auto file = folder.write("in", "text\n");
  EXPECT_EQ(outcome_of({.limit_ms = 20'000, .input = file}).out, "text\nend\n");
  const auto absent = runner_->run({.argv = {"cat"}, .limit_ms = 1'000, .input = folder / "no"});
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, Code::not_found);
}

TEST_F(Processes, ARunEndsWhenItIsNoLongerWanted) {
  int asked = 0;
  const auto outcome = runner_->run({.argv = {"sleep", "100"},
                                     .limit_ms = 60'000,
                                     .stop = [&] { return ++asked > 1; },
                                     .own_session = true,
                                     .obey_signals = false});
  ASSERT_TRUE(outcome);
  EXPECT_TRUE(outcome->timed_out);
  EXPECT_GT(asked, 1);
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

// A process of its own that calls `body`; gives its pid.
template <class Body>
pid_t fork_and(const Body& body) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  for (const int number : {SIGINT, SIGTERM}) ::signal(number, SIG_DFL);  // ignored under nohup
  body();
  ::_exit(0);
}

bool appears(const std::filesystem::path& path) {
  for (int tries = 0; tries < 2'000; ++tries) {
    if (text_of(path).ends_with('\n')) return true;
    ::usleep(5'000);
  }
  return false;
}

// clause: P-33
TEST_F(Processes, ASignalEndsTheWholeGroupOfTheChildAndThenUs) {
  // Ctrl-C left pip running in its own process group.
  for (const int number : {SIGINT, SIGTERM}) {
    TemporaryFolder folder;
    const std::string script = "sleep 100 & echo $! > " + (folder / "pid").string() + "; wait";
    const pid_t child =
        fork_and([&] { (void)runner_->run({.argv = {"sh", "-c", script}, .limit_ms = 60'000}); });
    ASSERT_TRUE(appears(folder / "pid"));
    ::kill(child, number);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == number) << status;
    const auto grandchild = runner_->inspect(std::stoi(text_of(folder / "pid")));
    EXPECT_TRUE(!grandchild || !grandchild->has_value() || (*grandchild)->zombie);
  }
}

// clause: C-17
TEST_F(Processes, AnAttachedChildSeesTheEndOfStdinWhenWeAreToldToEnd) {
  for (const int number : {SIGINT, SIGTERM}) {
    TemporaryFolder folder;
    const std::string begun = (folder / "begun").string();
    const std::string script = "echo x >" + begun + "; cat; exit 9";
    const pid_t child = fork_and([&] {
      const auto outcome = runner_->run_attached({.argv = {"sh", "-c", script}, .stop_ms = 20'000});
      ::_exit(outcome && outcome->exit_status == 9 && outcome->interrupted == number ? 0 : 1);
    });
    ASSERT_TRUE(appears(begun));
    ::kill(child, number);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
}

TEST_F(Processes, AnAttachedChildThatDoesNotEndIsMadeTo) {
  TemporaryFolder folder;
  const std::string begun = (folder / "begun").string();
  const std::string script = "trap '' TERM; echo x >" + begun + "; while :; do sleep 1; done";
  const pid_t child = fork_and([&] {
    const auto outcome = runner_->run_attached({.argv = {"sh", "-c", script}, .stop_ms = 100});
    ::_exit(outcome && outcome->exit_status == -1 ? 0 : 1);
  });
  ASSERT_TRUE(appears(begun));
  ::kill(child, SIGINT);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(Processes, AnAttachedChildWritesToOurStreams) {
  testing::internal::CaptureStdout();
  const auto outcome =
      runner_->run_attached({.argv = {"sh", "-c", "echo out; exit 4"}, .stop_ms = 1'000});
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "out\n");
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->exit_status, 4);
  EXPECT_EQ(outcome->interrupted, 0);
  const auto absent = runner_->run_attached({.argv = {"llorch-no-such"}, .stop_ms = 1'000});
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, Code::not_found);
}

TEST_F(Processes, AChildsStreamsAreRightWhereOursAreClosed) {
  // The log became descriptor 0 and was closed in the child.
  TemporaryFolder folder;
  const pid_t child = fork_and([&] {
    for (const int stream : {0, 1, 2}) ::close(stream);
    const auto pid = runner_->spawn_detached(
        {.argv = {"sh", "-c", "echo out; echo err >&2; cat; echo end"}, .log = folder / "log"});
    if (pid) ::waitpid(*pid, nullptr, 0);
    const auto ran =
        runner_->run({.argv = {"sh", "-c", "echo out; echo err >&2"}, .limit_ms = 9'000});
    ::_exit(ran && ran->out == "out\n" && ran->err == "err\n" ? 0 : 1);
  });
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(text_of(folder / "log"), "out\nerr\nend\n");
}

TEST(Interrupt, IsNotedUnderAGuardAndObeyedAfterIt) {
  const auto guarded = [] {
    const InterruptGuard guard;
    ::raise(SIGTERM);
    return interrupt_number();
  };
  EXPECT_EXIT(::_exit(guarded()), testing::ExitedWithCode(SIGTERM), "");
  EXPECT_EXIT(
      {
        guarded();
        ::raise(SIGINT);
      },
      testing::KilledBySignal(SIGINT), "");
  EXPECT_EXIT(
      {
        const InterruptGuard outer;
        guarded();
        ::raise(SIGINT);
      },
      testing::ExitedWithCode(130), "");
  EXPECT_EXIT(
      {
        guarded();
        die_of(SIGTERM);
      },
      testing::KilledBySignal(SIGTERM), "");
}

TEST(Interrupt, StaysIgnoredWhereItWas) {
  EXPECT_EXIT(
      {
        ::signal(SIGINT, SIG_IGN);
        const InterruptGuard guard;
        ::raise(SIGINT);
        ::_exit(interrupt_number());
      },
      testing::ExitedWithCode(0), "");
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

TEST(Host, APortThatCannotBeBoundSaysWhy) {
  // Everything was called "taken".
  const int taken = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(::bind(taken, generic, size), 0);
  ASSERT_EQ(::listen(taken, 1), 0);
  ASSERT_EQ(::getsockname(taken, generic, &size), 0);
  const std::uint16_t port = ntohs(address.sin_port);
  EXPECT_EQ(check_port("127.0.0.1", port).error().code, Code::conflict);
  ::close(taken);
  EXPECT_TRUE(check_port("127.0.0.1", port));
  // RFC 5737: an address for documentation, no machine has it. RFC 2606: a name that is none.
  EXPECT_EQ(check_port("192.0.2.1", port).error().code, Code::invalid_request);
  EXPECT_EQ(check_port("x.invalid", port).error().code, Code::invalid_request);
  if (::geteuid() == 0) return;  // root may bind any
  EXPECT_EQ(check_port("127.0.0.1", 1).error().code, Code::forbidden);
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
