#include "remote/pool_command.h"

#include <gtest/gtest.h>

#include "base/version.h"
#include "fakes/fake_process_runner.h"
#include "fakes/temporary_folder.h"

namespace llorch {
namespace {

using Words = std::vector<std::string>;

constexpr std::string_view backends =
    R"({"backends":[{"name":"cuda","available":true,"priority":2,"devices":[{"index":0}]}]})";

// What hosts were asked, and their answers.
struct FakeHosts {
  std::vector<std::string> calls;  // "HOST: words"
  std::map<std::string, RemoteOutcome> answers;
  int attached_status = 0;
  std::function<RemoteOutcome(std::string_view script, const Words&, const std::string& file)>
      on_script;
};

class FakeSshHost final : public SshHost {
 public:
  FakeSshHost(FakeHosts& hosts, PoolHost host) : hosts_(hosts), host_(std::move(host)) {}
  Result<RemoteOutcome> run(std::span<const std::string> words, const RemoteLimits&) override {
    const auto found = hosts_.answers.find(note(words));
    if (found == hosts_.answers.end()) return fail(Code::unreachable, "host: off", "wait");
    return found->second;
  }
  Result<int> run_attached(std::span<const std::string> words) override {
    note(words);
    return hosts_.attached_status;
  }
  Result<RemoteOutcome> run_script(std::string_view script, std::span<const std::string> words,
                                   const std::filesystem::path& input,
                                   const RemoteLimits&) override {
    return hosts_.on_script(script, {words.begin(), words.end()}, input.filename().string());
  }
  Result<Words> script_argv(std::string_view script,
                            std::span<const std::string> words) const override {
    Words argv = {"ssh", host_.target.host, std::string(script)};
    argv.insert(argv.end(), words.begin(), words.end());
    return argv;
  }

 private:
  std::string note(std::span<const std::string> words) {
    std::string call = name_of(host_.target) + ":";
    for (const auto& word : words) call += " " + word;
    hosts_.calls.push_back(call);
    return call;
  }
  FakeHosts& hosts_;
  PoolHost host_;
};

class Pools : public testing::Test {
 protected:
  PoolDriver driver() {
    PoolDriver driver{.settings = {},
                      .processes = processes_,
                      .program_folder = folder_.path(),
                      .connect = [this](PoolHost host) -> std::unique_ptr<SshHost> {
                        return std::make_unique<FakeSshHost>(hosts_, std::move(host));
                      },
                      .become =
                          [this](const Words& argv) {
                            became_ = argv;
                            return Error{.code = Code::not_found, .message = "gone"};
                          },
                      .system = "Linux x86_64"};
    driver.settings.pools["attic"] = {.host = "10.0.0.7", .user = "me"};
    return driver;
  }
  FakeProcessRunner processes_;
  FakeHosts hosts_;
  Words became_;
  TemporaryFolder folder_;
};

// clause: C-12
TEST_F(Pools, WithoutAHostThisMachinesOwnProgramIsRun) {
  const auto ran = run_pool_command(driver(), {.words = {"worker", "list"}});
  ASSERT_FALSE(ran);
  EXPECT_EQ(became_, (Words{"llorch-pool", "worker", "list"}));
  EXPECT_FALSE(ran.error().next.empty());
}

// clause: C-12
TEST_F(Pools, AHostsStatusIsKept) {
  hosts_.attached_status = 5;
  const auto ran = run_pool_command(driver(), {.host = "attic", .words = {"worker", "list"}});
  ASSERT_TRUE(ran);
  EXPECT_EQ(*ran, 5);
  EXPECT_EQ(hosts_.calls, (Words{"me@10.0.0.7: worker list"}));
  const auto hostile =
      run_pool_command(driver(), {.host = "-oProxyCommand=x", .words = {"status"}});
  ASSERT_FALSE(hostile);
  EXPECT_EQ(exit_code(hostile.error().code), exit_usage);
}

// clause: C-14
TEST_F(Pools, AGpuNamesTheBackendOfItsHost) {
  const PoolCommand here{
      .words = {"worker", "spawn", "--gpu", "0"}, .backend_missing_at = 2, .gpu = "0"};
  PoolCommand there = here;
  there.host = "h";
  hosts_.answers["h: backends list --json"] = {.out = std::string(backends)};
  ASSERT_TRUE(run_pool_command(driver(), there));
  EXPECT_EQ(hosts_.calls.back(), "h: worker spawn cuda --gpu 0");
  processes_.programs["llorch-pool"] = [](const RunRequest&) {
    return RunOutcome{.exit_status = 0, .out = std::string(backends)};
  };
  (void)run_pool_command(driver(), here);
  EXPECT_EQ(became_, (Words{"llorch-pool", "worker", "spawn", "cuda", "--gpu", "0"}));
  hosts_.answers.clear();
  const auto off = run_pool_command(driver(), there);
  ASSERT_FALSE(off);
  EXPECT_EQ(off.error().code, Code::unreachable);
}

// A host without llorch: answers the scripts of an installation.
class Installs : public Pools {
 protected:
  void SetUp() override {
    for (const char* const name : {"llorch", "llorch-candled", "llorch-pool"}) {
      folder_.write(name, "12345");
    }
    hosts_.on_script = [this](std::string_view script, const Words& words,
                              const std::string& file) -> RemoteOutcome {
      if (script.starts_with("uname")) return {.out = "Linux x86_64\n" + there_};
      if (script.contains("cat >")) {
        sent_.push_back(file);
        return {.exit_status = full_ ? 1 : 0, .out = full_ ? "" : " 5\n", .err = "no room\n"};
      }
      if (script.contains("--list-backends")) return {.exit_status = runs_ ? 0 : 127};
      if (script.contains("rm -f")) cleared_ = true;
      if (script.contains("mv -f")) moved_ = words;
      return {};
    };
  }
  std::string there_;
  Words sent_;
  Words moved_;
  bool full_ = false;
  bool runs_ = true;
  bool cleared_ = false;
};

// clause: C-21
TEST_F(Installs, TheProgramsAreTriedBeforeTheyGetTheirNames) {
  ASSERT_EQ(run_install(driver(), {.host = "h"}).value(), exit_ok);
  EXPECT_EQ(sent_, (Words{"llorch", "llorch-candled", "llorch-pool"}));
  EXPECT_EQ(moved_, sent_);
  EXPECT_FALSE(cleared_);
  moved_.clear();
  runs_ = false;
  EXPECT_FALSE(run_install(driver(), {.host = "h"}));
  EXPECT_TRUE(cleared_ && moved_.empty());
}

// clause: C-21
TEST_F(Installs, ARefusalLeavesWhatIsThere) {
  there_ = "llorch-pool 0.0.1\n";
  EXPECT_EQ(run_install(driver(), {.host = "h"}).error().code, Code::conflict);
  EXPECT_TRUE(sent_.empty());
  EXPECT_EQ(run_install(driver(), {.host = "h", .upgrade = true}).value(), exit_ok);
  there_ = "llorch-pool " + std::string(version()) + "\n";
  sent_.clear();
  EXPECT_EQ(run_install(driver(), {.host = "h"}).value(), exit_ok);
  EXPECT_TRUE(sent_.empty()) << "it is up to date";
  there_.clear();
  full_ = true;
  EXPECT_EQ(run_install(driver(), {.host = "h"}).error().code, Code::internal);
  EXPECT_TRUE(cleared_);
  auto other = driver();
  other.system = "Darwin arm64";
  EXPECT_EQ(run_install(other, {.host = "h"}).error().code, Code::conflict);
  std::filesystem::remove(folder_ / "llorch");
  EXPECT_EQ(run_install(driver(), {.host = "h"}).error().code, Code::not_found);
}

std::string catalog(const std::string& root, bool downloaded, const std::string& sha256) {
  return R"({"root":")" + root + R"(","models":[{"id":"m","downloaded":)" +
         (downloaded ? "true" : "false") + R"(,"sha256":")" + sha256 +
         R"(","path":".test-models/m/a b.gguf","extra_files":["p2.gguf"]}]})";
}

class Copies : public Pools {
 protected:
  void SetUp() override {
    hosts_.answers["a: models catalog --json"] = {.out = catalog("/ra", true, "1")};
    hosts_.answers["b: models catalog --json"] = {.out = catalog("/rb", false, "")};
    hosts_.answers["b: models register /rb/.test-models/m/a b.gguf --as m"] = {};
    hosts_.answers["b: models verify m --json"] = {.out = R"({"sha256":"1"})"};
    processes_.programs["sh"] = [this](const RunRequest& request) {
      lines_.push_back(request.argv[2]);
      const bool cut = !arrives_ && request.argv[2].contains(" | ");
      return RunOutcome{.exit_status = 0, .out = cut ? "3\n" : "7\n"};
    };
  }
  Words lines_;
  bool arrives_ = true;
};

// clause: C-22
TEST_F(Copies, EveryFileIsNamedWhenItIsWholeAndThenEntered) {
  ASSERT_EQ(run_copy(driver(), {.model = "m", .from = "a", .to = "b"}).value(), exit_ok);
  ASSERT_EQ(lines_.size(), 6U);
  EXPECT_NE(lines_[1].find("'/ra/.test-models/m/a b.gguf' | 'ssh' 'b'"), std::string::npos)
      << lines_[1];
  EXPECT_NE(lines_[2].find("mv -f"), std::string::npos);
  EXPECT_EQ(hosts_.calls[2], "b: models register /rb/.test-models/m/a b.gguf --as m");
}

// clause: C-22
TEST_F(Copies, ARefusalSaysWhy) {
  const auto code_of = [&](const CopyCommand& command) {
    const auto copied = run_copy(driver(), command);
    EXPECT_FALSE(copied);
    return copied ? Code::draining : copied.error().code;
  };
  EXPECT_EQ(code_of({.model = "../m", .from = "a", .to = "b"}), Code::invalid_request);
  EXPECT_EQ(code_of({.model = "n", .from = "a", .to = "b"}), Code::model_not_found);
  EXPECT_EQ(code_of({.model = "m", .from = "b", .to = "a"}), Code::model_not_found);
  EXPECT_EQ(code_of({.model = "m", .from = "a", .to = "c"}), Code::unreachable);
  hosts_.answers["b: models verify m --json"].out = R"({"sha256":"2"})";
  EXPECT_EQ(code_of({.model = "m", .from = "a", .to = "b"}), Code::conflict);
  arrives_ = false;
  EXPECT_EQ(code_of({.model = "m", .from = "a", .to = "b"}), Code::unreachable);
  EXPECT_NE(lines_.back().find("rm -f"), std::string::npos);
  hosts_.answers["b: models catalog --json"] = {.out = catalog("/rb", true, "2")};
  EXPECT_EQ(code_of({.model = "m", .from = "a", .to = "b"}), Code::conflict);
  hosts_.answers["b: models catalog --json"] = {.out = catalog("/rb", true, "1")};
  EXPECT_EQ(run_copy(driver(), {.model = "m", .from = "a", .to = "b"}).value(), exit_ok);
  hosts_.answers["a: models catalog --json"] = {.exit_status = 1, .err = "error: broken\n"};
  EXPECT_EQ(code_of({.model = "m", .from = "a", .to = "b"}), Code::internal);
}

}  // namespace
}  // namespace llorch
