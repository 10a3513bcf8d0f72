#include "ssh/ssh_host.h"

#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fakes/fake_process_runner.h"
#include "fakes/temporary_folder.h"
#include "ssh/failure.h"

namespace llorch {
namespace {

// An ssh that a test makes up.
class FakeSsh : public ProcessRunner {
 public:
  RunOutcome outcome;
  AttachOutcome attached;
  std::string log;  // what ssh says of itself
  bool installed = true;
  RunRequest request;
  AttachRequest attach_request;

  Result<RunOutcome> run(const RunRequest& given) override {
    request = given;
    if (!installed) return fail(Code::not_found, "ssh: no such program in PATH");
    write_log(given.argv);
    return outcome;
  }
  Result<AttachOutcome> run_attached(const AttachRequest& given) override {
    attach_request = given;
    if (!installed) return fail(Code::not_found, "ssh: no such program in PATH");
    write_log(given.argv);
    return attached;
  }
  Result<Pid> spawn_detached(const SpawnRequest&) override { return fail(Code::internal, "no"); }
  Result<std::optional<ProcessFacts>> inspect(Pid) override { return fail(Code::internal, "no"); }
  Result<void> signal(Pid, int) override { return fail(Code::internal, "no"); }

 private:
  void write_log(const std::vector<std::string>& argv) const {
    const auto flag = std::ranges::find(argv, "-E");
    ASSERT_NE(flag, argv.end());
    std::ofstream(*(flag + 1)) << log;
  }
};

class Host : public testing::Test {
 protected:
  std::unique_ptr<SshHost> host(bool terminal = false) {
    return make_ssh_host({.target = {"me", "gpu-1"}},
                         {.processes = ssh_, .socket_folder = "/run/x", .terminal = terminal});
  }
  FakeSsh ssh_;
  const std::vector<std::string> words_ = {"worker", "cleanup"};
};

// clause: C-16
TEST(SshOptions, AskNothingShareConnectionsAndEndBeforeTheHost) {
  const auto options = ssh_options({"me", "gpu-1"}, "/run/x", "/tmp/log", RemoteEnd::watched);
  const std::vector<std::string> want = {"ssh", "-T",
                                         "-E",  "/tmp/log",
                                         "-o",  "BatchMode=yes",
                                         "-o",  "LogLevel=ERROR",
                                         "-o",  "ConnectTimeout=10",
                                         "-o",  "ServerAliveInterval=10",
                                         "-o",  "ServerAliveCountMax=3",
                                         "-o",  "ClearAllForwardings=yes",
                                         "-o",  "RemoteCommand=none",
                                         "-o",  "ControlMaster=auto",
                                         "-o",  "ControlPath=/run/x/%C",
                                         "-o",  "ControlPersist=60",
                                         "-l",  "me",
                                         "--",  "gpu-1"};
  EXPECT_EQ(options, want);
  const auto alone = ssh_options({"", "gpu-1"}, {}, {}, RemoteEnd::terminal);
  EXPECT_EQ(alone[1], "-t");
  EXPECT_EQ(std::ranges::find(alone, "-l"), alone.end());
  EXPECT_NE(std::ranges::find(alone, "ControlPath=none"), alone.end());
  for (const auto& each : options) EXPECT_EQ(each.find("StrictHostKeyChecking"), each.npos);
}

TEST_F(Host, ARunGivesWhatTheCommandThereSaid) {
  ssh_.outcome = {.exit_status = 5, .out = "o", .err = "e"};
  const auto ran = host()->run(words_, {.limit_ms = 1'234});
  ASSERT_TRUE(ran) << ran.error().message;
  EXPECT_EQ(ran->exit_status, 5);
  EXPECT_EQ(ran->out + ran->err, "oe");
  EXPECT_EQ(ssh_.request.limit_ms, 1'234);
  EXPECT_TRUE(ssh_.request.hold_stdin && ssh_.request.own_session && ssh_.request.obey_signals);
  EXPECT_TRUE(ssh_.request.argv.back().ends_with(" 'llorch' '' '' 'worker' 'cleanup'"))
      << ssh_.request.argv.back();
  EXPECT_EQ(ssh_.request.argv[ssh_.request.argv.size() - 2], "gpu-1");
}

TEST_F(Host, InADaemonSignalsAreLeftAlone) {
  ssh_.outcome = {.exit_status = 0};
  ASSERT_TRUE(host()->run(words_, {.stop = [] { return false; }}));
  EXPECT_FALSE(ssh_.request.obey_signals);
  EXPECT_TRUE(ssh_.request.stop);
}

TEST_F(Host, EveryErrorOfARunHasItsCode) {
  const auto code_of = [&] {
    const auto ran = host()->run(words_, {.output_bytes_max = 10});
    EXPECT_FALSE(ran);
    EXPECT_FALSE(ran.error().next.empty());
    return ran.error().code;
  };
  ssh_.outcome = {.exit_status = -1, .timed_out = true};
  EXPECT_EQ(code_of(), Code::timeout);
  ssh_.outcome = {.exit_status = 0, .out = std::string(11, 'x')};
  EXPECT_EQ(code_of(), Code::too_large);
  ssh_.outcome = {.exit_status = 127};
  EXPECT_EQ(code_of(), Code::not_found);
  ssh_.outcome = {.exit_status = 126};
  EXPECT_EQ(code_of(), Code::forbidden);
  ssh_.outcome = {.exit_status = 255};
  EXPECT_EQ(code_of(), Code::unreachable);
  ssh_.installed = false;
  EXPECT_EQ(code_of(), Code::not_found);
  ssh_.installed = true;
  const auto nul = host()->run(std::vector<std::string>{std::string("\0", 1)}, {});
  ASSERT_FALSE(nul);
  EXPECT_EQ(nul.error().code, Code::invalid_request);
}

// clause: C-17
TEST_F(Host, AnAttachedRunGivesTheStatusOrTheSignal) {
  ssh_.attached = {.exit_status = 5};
  EXPECT_EQ(host()->run_attached(words_).value(), 5);
  EXPECT_FALSE(ssh_.attach_request.share_terminal);
  ssh_.attached = {.exit_status = 143, .interrupted = SIGINT};
  EXPECT_EQ(host()->run_attached(words_).value(), 130);
  ssh_.attached = {.exit_status = -1, .interrupted = SIGTERM};
  EXPECT_EQ(host(true)->run_attached(words_).value(), 143);
  EXPECT_TRUE(ssh_.attach_request.share_terminal);
  EXPECT_EQ(ssh_.attach_request.argv[1], "-t");
  ssh_.attached = {.exit_status = 255};
  ssh_.log = "Host key verification failed.\n";
  const auto refused = host()->run_attached(words_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::forbidden);
}

TEST_F(Host, AScriptMayReadAFile) {
  ssh_.outcome = {.exit_status = 1, .err = "no room"};
  const auto ran = host()->run_script("cat", {}, "/some/file", {});
  ASSERT_TRUE(ran);
  EXPECT_EQ(ran->exit_status, 1);
  EXPECT_EQ(ssh_.request.input, "/some/file");
  EXPECT_FALSE(ssh_.request.hold_stdin);
  const auto argv = host()->script_argv("cat", {});
  ASSERT_TRUE(argv);
  EXPECT_EQ(argv->back(), "exec sh -c 'cat' 'llorch'");
}

// clause: C-19
TEST(SshFailure, EachMessageOfSshHasItsCodeAndItsNextStep) {
  struct Case {
    const char* name;
    std::string_view log;
    Code code;
    std::string_view next;
  };
  const Case cases[] = {
      {"unknown key", "Host key verification failed.\r\n", Code::forbidden, "ssh me@gpu-1"},
      {"changed key",
       "@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@\nHost key "
       "verification failed.\r\n",
       Code::forbidden, "ssh-keygen -R"},
      {"no key", "me@gpu-1: Permission denied (publickey).\r\n", Code::forbidden, "ssh-copy-id"},
      {"too many keys", "Received disconnect: 2: Too many authentication failures\n",
       Code::forbidden, "IdentitiesOnly"},
      {"no name", "ssh: Could not resolve hostname gpu-1: Name or service not known\r\n",
       Code::unreachable, "HostName"},
      {"refused", "ssh: connect to host gpu-1 port 22: Connection refused\r\n", Code::unreachable,
       "Port"},
      {"no route", "ssh: connect to host gpu-1 port 22: No route to host\r\n", Code::unreachable,
       "ping me@gpu-1"},
      {"time", "ssh: connect to host gpu-1 port 22: Connection timed out\r\n", Code::timeout, ""},
      {"time on macOS", "ssh: connect to host gpu-1 port 22: Operation timed out\r\n",
       Code::timeout, ""},
      {"silence", "Timeout, server gpu-1 not responding.\r\n", Code::timeout, ""},
      {"bad configuration", "/home/me/.ssh/config: line 3: Bad configuration option: x\n",
       Code::invalid_request, "ssh -G"},
      {"closed", "Connection closed by 10.0.0.1 port 22\n", Code::unreachable, "ssh me@gpu-1"},
      {"nothing", "", Code::unreachable, "ssh me@gpu-1"}};
  for (const auto& [name, log, code, next] : cases) {
    SCOPED_TRACE(name);
    const auto error = explain_ssh_failure({"me", "gpu-1"}, log);
    EXPECT_EQ(error.code, code);
    EXPECT_TRUE(error.message.starts_with("host me@gpu-1: ")) << error.message;
    EXPECT_NE(error.next.find(next), std::string::npos) << error.next;
  }
}

TEST(SshFailure, AMissingPoolSaysHowToPutItThere) {
  const auto missing = explain_no_pool({.target = {"", "gpu-1"}}, 127);
  EXPECT_EQ(missing.code, Code::not_found);
  EXPECT_NE(missing.next.find("llorch pool install --host gpu-1"), std::string::npos);
  EXPECT_EQ(explain_no_pool({}, 126).code, Code::forbidden);
}

// XDG_RUNTIME_DIR as given while it lives.
class RuntimeFolder {
 public:
  explicit RuntimeFolder(const std::string& path) {
    if (const char* const before = ::getenv("XDG_RUNTIME_DIR")) before_ = before;
    ::setenv("XDG_RUNTIME_DIR", path.c_str(), 1);
  }
  ~RuntimeFolder() {
    if (before_.empty()) {
      ::unsetenv("XDG_RUNTIME_DIR");
    } else {
      ::setenv("XDG_RUNTIME_DIR", before_.c_str(), 1);
    }
  }
  RuntimeFolder(const RuntimeFolder&) = delete;
  RuntimeFolder& operator=(const RuntimeFolder&) = delete;

 private:
  std::string before_;
};

TEST(SshSurroundings, TheSocketsLieInAFolderOfOursAlone) {
  FakeSsh ssh;
  const TemporaryFolder folder;
  {
    const RuntimeFolder set(folder.path().string());
    const auto good = ssh_surroundings(ssh).socket_folder;
    EXPECT_EQ(good, folder / "llorch-ssh");
    struct stat facts{};
    ASSERT_EQ(::stat(good.c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 0777, 0700U);
    ::chmod(good.c_str(), 0755);
    EXPECT_NE(ssh_surroundings(ssh).socket_folder, good) << "others could read it";
  }
  const TemporaryFolder linked;
  std::filesystem::create_directory(linked / "real");
  std::filesystem::create_directory_symlink(linked / "real", linked / "llorch-ssh");
  for (const auto& path : {linked.path().string(), "/tmp/" + std::string(90, 'x'),
                           std::string("/tmp/a b"), std::string("/tmp/%h"), std::string("tmp")}) {
    const RuntimeFolder set(path);
    const auto other = ssh_surroundings(ssh).socket_folder.string();
    EXPECT_FALSE(other.starts_with(path + "/")) << other;
  }
}

}  // namespace
}  // namespace llorch
