#include "ssh/target.h"

#include <fstream>
#include <gtest/gtest.h>
#include <random>
#include <sys/stat.h>
#include <thread>

#include "base/limits.h"
#include "fakes/temporary_folder.h"
#include "sys/process_runner.h"

namespace llorch {
namespace {

TEST(ParseSshTarget, TakesNamesAndAddressesAndNothingAShellCouldRead) {
  const std::string longest(limits::ssh_host_bytes_max, 'a');
  const std::string longest_user(limits::ssh_user_bytes_max, 'u');
  struct Case {
    const char* name;
    std::string text;
    std::optional<SshTarget> want;
  };
  const Case cases[] = {{"name", "gpu-1", SshTarget{"", "gpu-1"}},
                        {"domain", "gpu-1.lab.example", SshTarget{"", "gpu-1.lab.example"}},
                        {"user", "me@gpu-1", SshTarget{"me", "gpu-1"}},
                        {"user with dots", "me.you+x@h", SshTarget{"me.you+x", "h"}},
                        {"alias with underscore", "_attic", SshTarget{"", "_attic"}},
                        {"IPv4", "192.168.1.20", SshTarget{"", "192.168.1.20"}},
                        {"IPv6", "::1", SshTarget{"", "::1"}},
                        {"IPv6 in brackets", "me@[fe80::1]", SshTarget{"me", "fe80::1"}},
                        {"IPv6 with zone", "fe80::1%eth0", SshTarget{"", "fe80::1%eth0"}},
                        {"longest", longest, SshTarget{"", longest}},
                        {"longest user", longest_user + "@h", SshTarget{longest_user, "h"}},
                        {"empty", "", std::nullopt},
                        {"only a user", "me@", std::nullopt},
                        {"empty user", "@h", std::nullopt},
                        {"too long", longest + "a", std::nullopt},
                        {"user too long", longest_user + "u@h", std::nullopt},
                        {"an option", "-oProxyCommand=reboot", std::nullopt},
                        {"an option behind the user", "me@-oProxyCommand=reboot", std::nullopt},
                        {"a user that is an option", "-oProxyCommand=reboot@h", std::nullopt},
                        {"blank", "a b", std::nullopt},
                        {"newline", "a\nb", std::nullopt},
                        {"NUL", std::string("a\0b", 3), std::nullopt},
                        {"tab", "a\tb", std::nullopt},
                        {"semicolon", "h;reboot", std::nullopt},
                        {"command substitution", "$(reboot)", std::nullopt},
                        {"backquotes", "`reboot`", std::nullopt},
                        {"pipe", "h|reboot", std::nullopt},
                        {"quote", "h'", std::nullopt},
                        {"backslash", "h\\x", std::nullopt},
                        {"percent", "h%h", std::nullopt},
                        {"zone with a shell in it", "fe80::1%$(reboot)", std::nullopt},
                        {"letters beyond ASCII", "höst", std::nullopt},
                        {"wild card", "*", std::nullopt},
                        {"slash", "../h", std::nullopt},
                        {"port", "gpu-1:2222", std::nullopt},
                        {"IPv6 with port", "[::1]:22", std::nullopt},
                        {"half a bracket", "[::1", std::nullopt},
                        {"name in brackets", "[gpu-1]", std::nullopt},
                        {"two users", "a@b@h", std::nullopt},
                        {"URL", "ssh://h", std::nullopt}};
  for (const auto& [name, text, want] : cases) {
    SCOPED_TRACE(name);
    const auto got = parse_ssh_target(text);
    ASSERT_EQ(got.has_value(), want.has_value());
    if (want) {
      EXPECT_EQ(*got, *want);
    } else {
      EXPECT_EQ(got.error().code, Code::invalid_request);
      EXPECT_FALSE(got.error().next.empty());
    }
  }
}

TEST(PoolHosts, AreCheckedWhereverTheyComeFrom) {
  struct Case {
    const char* name;
    PoolSettings settings;
    bool good;
  };
  const Case cases[] = {
      {"all fields", {"gpu-1", "me", "/srv/llorch", "/opt/llorch/bin/llorch-pool"}, true},
      {"home folder", {"gpu-1", "", "~/x", "~/b/llorch-pool"}, true},
      {"path with blanks", {"gpu-1", "", "/srv/my models", ""}, true},
      {"bare command", {"gpu-1", "", "", "llorch-pool"}, true},
      {"hostile host", {"-oProxyCommand=x", "", "", ""}, false},
      {"hostile user", {"gpu-1", "-lroot", "", ""}, false},
      {"relative root", {"gpu-1", "", "srv", ""}, false},
      {"newline in root", {"gpu-1", "", "/srv\n/x", ""}, false},
      {"command with arguments", {"gpu-1", "", "", "sudo llorch-pool"}, false},
      {"command as an option", {"gpu-1", "", "", "-c"}, false}};
  for (const auto& [name, settings, good] : cases) {
    SCOPED_TRACE(name);
    const auto host = pool_host(settings);
    ASSERT_EQ(host.has_value(), good);
    if (!good) {
      EXPECT_EQ(host.error().code, Code::invalid_request);
    }
  }
}

TEST(PoolHosts, ANameOfTheSettingsWinsOverATarget) {
  Settings settings;
  settings.pools["gpu-1"] = {.host = "10.0.0.7", .user = "me", .command = "/x/llorch-pool"};
  EXPECT_EQ(find_pool_host(settings, "gpu-1")->target, (SshTarget{"me", "10.0.0.7"}));
  EXPECT_EQ(find_pool_host(settings, "you@gpu-2")->target, (SshTarget{"you", "gpu-2"}));
  EXPECT_FALSE(find_pool_host(settings, "a b"));
}

class Shell : public testing::Test {
 protected:
  // What `sh -c line` does; a process of this test only.
  RunOutcome sh(const std::string& line, std::map<std::string, std::string> environment = {},
                bool hold_stdin = true) {
    const auto ran = runner_->run({.argv = {"sh", "-c", line},
                                   .limit_ms = 20'000,
                                   .environment = std::move(environment),
                                   .hold_stdin = hold_stdin});
    EXPECT_TRUE(ran) << (ran ? "" : ran.error().message);
    return ran.value_or(RunOutcome{});
  }
  std::string quoted(std::string_view text) {
    const auto got = quote_for_shell(text);
    EXPECT_TRUE(got);
    return got.value_or("");
  }
  // A program that prints its arguments and LLORCH_ROOT, then runs `more`.
  std::filesystem::path fake_pool(const std::string& name, const std::string& more = "") {
    const auto path = folder_.write(
        name, "#!/bin/sh\nprintf '%s|' \"$@\"\nprintf 'root=%s' \"$LLORCH_ROOT\"\n" + more + "\n");
    ::chmod(path.c_str(), 0755);
    return path;
  }

  std::unique_ptr<ProcessRunner> runner_ = make_process_runner();
  TemporaryFolder folder_;
};

// clause: C-18
TEST_F(Shell, EveryArgumentComesThroughAsItWas) {
  std::vector<std::string> hostile = {
      "",       "plain",   "a b",        "'",         "''",    "\\",
      "\\'",    "'\\''",   "\"",         "!",         "!!",    "$(touch /tmp/no)",
      "`id`",   "${HOME}", "; rm -rf /", "&& reboot", "| cat", "> /tmp/no",
      "*",      "~",       "#",          "-n",        "--",    "a\nb\n",
      "\r\t\v", "ünï ☃"};
  std::mt19937 random(20260101);
  for (int round = 0; round < 300; ++round) {
    std::string bytes(random() % 40, '\0');
    for (auto& byte : bytes) byte = static_cast<char>(1 + random() % 255);
    hostile.push_back(bytes);
  }
  std::string line = "printf '%s\\0'";
  std::string want;
  for (const auto& text : hostile) {
    line += " " + quoted(text);
    want += text + std::string(1, '\0');
  }
  EXPECT_EQ(sh(line).out, want);
}

TEST_F(Shell, ANulByteIsRefused) {
  const auto got = quote_for_shell(std::string_view("a\0b", 3));
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::invalid_request);
  EXPECT_FALSE(
      remote_command({}, std::vector<std::string>{std::string("\0", 1)}, RemoteEnd::watched));
}

TEST_F(Shell, ACommandLineTooLongForASystemIsRefused) {
  const std::vector<std::string> words = {std::string(limits::ssh_command_bytes_max, 'x')};
  const auto got = remote_command({}, words, RemoteEnd::watched);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::too_large);
}

// clause: C-15
TEST_F(Shell, TheProgramIsFoundInItsUsualPlaceOrWhereTheSettingsSay) {
  const std::vector<std::string> words = {"models", "a 'b' $(c)\n"};
  const std::string want = "models|a 'b' $(c)\n|root=";
  const std::map<std::string, std::string> home = {{"HOME", folder_.path().string()},
                                                   {"LLORCH_ROOT", ""}};
  const auto usual = fake_pool(".local/bin/llorch-pool");
  const auto other = fake_pool("my pool/llorch-pool", "exit 7");
  for (const auto end : {RemoteEnd::watched, RemoteEnd::terminal}) {
    const auto run = [&](const PoolHost& host) {
      const auto line = remote_command(host, words, end);
      EXPECT_TRUE(line);
      return sh(line.value_or("false"), home);
    };
    EXPECT_EQ(run({}).out, want);
    EXPECT_EQ(run({.root = "/srv/it's"}).out, want + "/srv/it's");
    EXPECT_EQ(run({.root = "~/r"}).out, want + folder_.path().string() + "/r");
    const auto named = run({.command = other.string()});
    EXPECT_EQ(named.out, want);
    EXPECT_EQ(named.exit_status, 7);
    EXPECT_EQ(run({.command = "~/my pool/llorch-pool"}).exit_status, 7);
    const auto absent = run({.command = "/nowhere/llorch-pool"});
    EXPECT_EQ(absent.exit_status, 127);
    EXPECT_EQ(absent.out + absent.err, "");
  }
}

TEST_F(Shell, AStatusOf255IsLeftToSsh) {
  const auto pool = fake_pool("llorch-pool", "exit 255");
  for (const auto end : {RemoteEnd::watched, RemoteEnd::terminal}) {
    const auto line = remote_command({.command = pool.string()}, {}, end);
    ASSERT_TRUE(line);
    EXPECT_EQ(sh(*line).exit_status, 1);
  }
}

// clause: C-17
TEST_F(Shell, TheEndOfStdinEndsTheProgramAndNotBefore) {
  const auto pool = fake_pool("llorch-pool", "while :; do sleep 0.02; done");
  const auto line = remote_command({.command = pool.string()}, {}, RemoteEnd::watched);
  ASSERT_TRUE(line);
  const auto closed = sh(*line, {}, false);
  EXPECT_EQ(closed.exit_status, 143);
  // Held open, it runs to its limit.
  const auto held =
      runner_->run({.argv = {"sh", "-c", *line}, .limit_ms = 300, .hold_stdin = true});
  ASSERT_TRUE(held);
  EXPECT_TRUE(held->timed_out);
}

TEST_F(Shell, WhatAWatchedProgramStartsIsNotWaitedFor) {
  // A worker lives on when `worker spawn` is done; the reader of stdin must not hold the streams.
  const auto pool = fake_pool("llorch-pool", "exit 3");
  const auto line = remote_command({.command = pool.string()}, {}, RemoteEnd::watched);
  ASSERT_TRUE(line);
  const auto ran = sh(*line);
  EXPECT_EQ(ran.exit_status, 3);
  EXPECT_FALSE(ran.timed_out);
}

TEST_F(Shell, AScriptGetsItsArguments) {
  const std::vector<std::string> words = {"it's", "-n"};
  const auto line = remote_script(R"(printf "%s," "$@")", words);
  ASSERT_TRUE(line);
  EXPECT_EQ(sh(*line).out, "it's,-n,");
}

}  // namespace
}  // namespace llorch
