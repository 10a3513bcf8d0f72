#include "remote/pool_table.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fakes/temporary_folder.h"
#include "remote/host_command.h"

namespace llorch {
namespace {

// clause: C-20
TEST(PoolTable, IsAddedAtTheEndAndNothingElseChanges) {
  const std::string before = "# mine\norchestrator_url = \"http://x\"  # here\n";
  const auto added = with_pool(before, "gpu-1", {"10.0.0.7", "me", "~/my \"x\"", "/b\\p"});
  ASSERT_TRUE(added) << added.error().message;
  EXPECT_EQ(*added, before +
                        "\n[pools.gpu-1]\nhost = \"10.0.0.7\"\nuser = \"me\"\n"
                        "root = \"~/my \\\"x\\\"\"\ncommand = \"/b\\\\p\"\n");
  Settings settings;
  ASSERT_TRUE(read_settings_text(*added, "f", settings));
  EXPECT_EQ(settings.pools.at("gpu-1").root, "~/my \"x\"");
  EXPECT_EQ(with_pool("", "a", {"h"}).value(), "[pools.a]\nhost = \"h\"\n");
  EXPECT_EQ(with_pool("api_token = \"x\"", "a", {"h"}).value(),
            "api_token = \"x\"\n\n[pools.a]\nhost = \"h\"\n");
}

// clause: C-20
TEST(PoolTable, IsRemovedWithNothingElse) {
  const std::string text =
      "# top\n[pools.a]\nhost = \"x\" # its\n# inside\nuser = \"u\"\n\n# of b\n[pools.b]\n"
      "host = \"y\"\n\n[worker]\nslots = 2\n";
  const auto without_a = without_pool(text, "a");
  ASSERT_TRUE(without_a) << without_a.error().message;
  EXPECT_EQ(*without_a, "# top\n# of b\n[pools.b]\nhost = \"y\"\n\n[worker]\nslots = 2\n");
  const auto without_both = without_pool(*without_a, "b");
  ASSERT_TRUE(without_both);
  EXPECT_EQ(*without_both, "# top\n# of b\n[worker]\nslots = 2\n");
  EXPECT_EQ(without_pool("[ pools . \"a\" ]\nhost = \"h\"\n", "a").value(), "");
}

TEST(PoolTable, WhatCannotBeDoneSafelyIsRefused) {
  struct Case {
    const char* name;
    std::string text;
    std::string pool;
    PoolSettings add;  // an empty host: remove
    Code code;
  };
  const Case cases[] = {
      {"there already", "[pools.a]\nhost = \"x\"\n", "a", {"y"}, Code::conflict},
      {"a name that is no key", "", "a b", {"y"}, Code::invalid_request},
      {"a name that ends the header", "", "a]", {"y"}, Code::invalid_request},
      {"a hostile host", "", "a", {"-oProxyCommand=x"}, Code::invalid_request},
      {"a newline in the root", "", "a", {"h", "", "/x\n[worker]"}, Code::invalid_request},
      {"a broken file", "[pools", "a", {"y"}, Code::invalid_request},
      {"pools as a value", "pools = { b = { host = \"x\" } }\n", "a", {"y"}, Code::invalid_request},
      {"not there", "[pools.a]\nhost = \"x\"\n", "b", {}, Code::not_found},
      {"inline", "pools.a.host = \"x\"\n", "a", {}, Code::invalid_request},
      {"a header inside a text",
       "[pools.b]\nhost = \"\"\"\n[pools.a]\n\"\"\"\n[pools]\na.host = \"x\"\n",
       "a",
       {},
       Code::invalid_request}};
  for (const auto& [name, text, pool, add, code] : cases) {
    SCOPED_TRACE(name);
    const auto changed = add.host.empty() ? without_pool(text, pool) : with_pool(text, pool, add);
    ASSERT_FALSE(changed) << *changed;
    EXPECT_EQ(changed.error().code, code) << changed.error().message;
    EXPECT_FALSE(changed.error().next.empty());
  }
}

// clause: C-20
TEST(HostCommands, KeepTheFilesPermissionsAndLinks) {
  const TemporaryFolder folder;
  const auto file = folder.write("real.toml", "api_token = \"secret-secret-secret\"\n");
  ::chmod(file.c_str(), 0600);
  std::filesystem::create_symlink(file, folder / "llorch.toml");
  ::setenv("LLORCH_CONFIG", (folder / "llorch.toml").c_str(), 1);
  const auto files = make_file_system();
  testing::internal::CaptureStdout();
  const auto added = run_host_command({.kind = HostCommand::Kind::add, .name = "attic"}, *files,
                                      user_settings_file().value());
  const auto again = run_host_command({.kind = HostCommand::Kind::add, .name = "attic"}, *files,
                                      user_settings_file().value());
  const auto listed = run_host_command({.json = true}, *files, user_settings_file().value());
  const auto removed = run_host_command({.kind = HostCommand::Kind::remove, .name = "attic"},
                                        *files, user_settings_file().value());
  const auto said = testing::internal::GetCapturedStdout();
  ::unsetenv("LLORCH_CONFIG");
  ASSERT_TRUE(added && listed && removed) << said;
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::conflict);
  EXPECT_NE(said.find("\"host\": \"attic\""), said.npos) << said;
  struct stat facts{};
  ASSERT_EQ(::stat(file.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600U);
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "llorch.toml"));
  EXPECT_EQ(files->read(file, 4096).value(), "api_token = \"secret-secret-secret\"\n");
}

}  // namespace
}  // namespace llorch
