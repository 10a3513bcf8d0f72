#include "base/settings.h"

#include <fstream>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace llorch {
namespace {

namespace fs = std::filesystem;

class SettingsFiles : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "llorch-settings-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    sources_.environment = [this](const char* variable) -> std::optional<std::string> {
      const auto found = environment_.find(variable);
      return found == environment_.end() ? std::nullopt : std::optional(found->second);
    };
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path file(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    sources_.files.push_back(folder_ / name);
    return folder_ / name;
  }

  fs::path folder_;
  std::map<std::string, std::string> environment_;
  SettingsSources sources_;
};

// clause: P-2
TEST_F(SettingsFiles, TheEnvironmentWinsOverFilesAndEarlierFilesOverLaterOnes) {
  file("near.toml", "[worker]\nslots = 2\nport = 9001\n");
  file("far.toml", "orchestrator_url = \"http://far\"\n[worker]\nslots = 3\nqueue = 7\n");
  environment_["LLORCH_WORKER_PORT"] = "9100";
  const auto settings = load_settings(sources_);
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ(settings->integer("worker.port"), 9100);
  EXPECT_EQ(settings->origin("worker.port"), "environment LLORCH_WORKER_PORT");
  EXPECT_EQ(settings->integer("worker.slots"), 2);
  EXPECT_EQ(settings->integer("worker.queue"), 7);
  EXPECT_EQ(settings->text("orchestrator_url"), "http://far");
  EXPECT_EQ(settings->text("worker.host"), std::nullopt);
}

// clause: O-15
TEST_F(SettingsFiles, TheLimitsOfScriptsAreOfTheOrchestratorsTable) {
  file("a.toml", "[orchestrator]\npolicy_operations = 500_000\npolicy_time_ms = 20\n");
  environment_["LLORCH_ORCHESTRATOR_POLICY_TIME_MS"] = "50";
  const auto settings = load_settings(sources_);
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ(settings->integer("orchestrator.policy_operations"), 500'000);
  EXPECT_EQ(settings->integer("orchestrator.policy_time_ms"), 50);
}

// contract: §1 per-model settings, aliases, pools
TEST_F(SettingsFiles, TablesOfModelsAliasesPoolsAndExternalServersAreRead) {
  file("a.toml", R"(
[models.qwen]
ctx_tokens = 4096
slots = 4
gpu_layers = "auto"
kv_type = "q8_0"
sampling = { temperature = 0.7, top_k = 40 }
idle_ttl = "10m"
keep = 1
pin = true
[models.phi3]
gpu_layers = 12
[aliases]
"gpt-4o-mini" = "qwen"
[pools.attic]
host = "gpu-1"
user = "me"
[[external]]
name = "lab"
url = "http://lab:8000/v1"
key_env = "LAB_KEY"
models = { qwen = "qwen2.5:0.5b" }
slots = 2
fallback = true
)");
  const auto settings = load_settings(sources_);
  ASSERT_TRUE(settings) << settings.error().message;
  const ModelSettings qwen = settings->model("qwen");
  EXPECT_EQ(qwen.ctx_tokens, 4096);
  EXPECT_EQ(qwen.slots, 4);
  EXPECT_EQ(qwen.gpu_layers, std::nullopt);
  EXPECT_EQ(qwen.kv_type, "q8_0");
  EXPECT_EQ(qwen.sampling.temperature, 0.7);
  EXPECT_EQ(qwen.sampling.top_k, 40U);
  EXPECT_EQ(qwen.idle_ttl_ms, 600'000);
  EXPECT_EQ(qwen.keep, 1);
  EXPECT_TRUE(qwen.pin);
  EXPECT_EQ(settings->model("phi3").gpu_layers, 12);
  EXPECT_EQ(settings->model("absent").slots, std::nullopt);
  EXPECT_EQ(settings->resolve_alias("gpt-4o-mini"), "qwen");
  EXPECT_EQ(settings->resolve_alias("qwen"), "qwen");
  EXPECT_EQ(settings->pools.at("attic").host, "gpu-1");
  ASSERT_EQ(settings->external.size(), 1U);
  const auto& lab = settings->external[0];
  EXPECT_EQ(lab.url, "http://lab:8000/v1");
  EXPECT_EQ(lab.key, std::nullopt) << "its variable is not set";
  EXPECT_EQ(lab.models.at("qwen"), "qwen2.5:0.5b");
  EXPECT_EQ(lab.slots, 2);
  EXPECT_TRUE(lab.fallback);
}

// A nearer [models.ID] hid all of a farther one, and lists of [[external]] were joined.
// clause: P-2
TEST_F(SettingsFiles, TheNearestFileWinsKeyByKeyInModelsAndWithWholePoolsAndLists) {
  file("near.toml", R"(
[models.qwen]
gpu_layers = "auto"
pin = false
sampling = { top_k = 40 }
[pools.attic]
host = "near"
[[external]]
name = "lab"
url = "http://near"
models = ["qwen"]
)");
  file("far.toml", R"(
[models.qwen]
gpu_layers = 20
pin = true
slots = 4
sampling = { top_k = 7, top_p = 0.5 }
[models.phi3]
slots = 2
[pools.attic]
host = "far"
user = "me"
[[external]]
name = "lab"
url = "http://far"
models = ["qwen"]
)");
  const auto settings = load_settings(sources_);
  ASSERT_TRUE(settings) << settings.error().message;
  const ModelSettings qwen = settings->model("qwen");
  EXPECT_EQ(qwen.gpu_layers, std::nullopt);
  EXPECT_FALSE(qwen.pin);
  EXPECT_EQ(qwen.slots, 4);
  EXPECT_EQ(qwen.sampling.top_k, 40U);
  EXPECT_EQ(qwen.sampling.top_p, 0.5);
  EXPECT_EQ(settings->model("phi3").slots, 2);
  EXPECT_EQ(settings->pools.at("attic").host, "near");
  EXPECT_EQ(settings->pools.at("attic").user, "");
  ASSERT_EQ(settings->external.size(), 1U);
  EXPECT_EQ(settings->external[0].url, "http://near");
}

// LLORCH_CONFIG=/etc/llorch ended every program by an exception.
TEST_F(SettingsFiles, AFolderIsRefusedWithTheNextStep) {
  sources_.files = {folder_};
  sources_.files_required = true;
  const auto settings = load_settings(sources_);
  ASSERT_FALSE(settings);
  EXPECT_EQ(settings.error().code, Code::invalid_request);
  EXPECT_NE(settings.error().message.find("is a folder"), std::string::npos);
  EXPECT_NE(settings.error().next.find("LLORCH_CONFIG"), std::string::npos);
}

TEST_F(SettingsFiles, AnEmptyFileSaysNothing) {
  file("empty.toml", "");
  sources_.files.emplace_back("/dev/null");
  EXPECT_TRUE(load_settings(sources_));
}

// clause: P-2
TEST_F(SettingsFiles, WhatIsWrongIsNamedWithFileAndLine) {
  struct Case {
    const char* name;
    const char* text;
    const char* line;
    const char* why;
  };
  const Case cases[] = {
      {"unknown key", "\nsloots = 1\n", ":2: ", "unknown key 'sloots'"},
      {"unknown key in a program's table", "[worker]\n\nsloots = 1\n", ":3: ", "worker.sloots"},
      {"unknown program", "[wroker]\nslots = 1\n", ":2: ", "wroker.slots"},
      {"unknown model key", "[models.a]\nctx = 1\n", ":2: ", "models.a.ctx"},
      {"wrong type", "[worker]\nslots = \"two\"\n", ":2: ", "a whole number"},
      {"out of range", "[models.a]\nslots = 257\n", ":2: ", "1..256"},
      {"unknown cache type", "[models.a]\nkv_type = \"q9\"\n", ":2: ", "one of"},
      {"bad duration", "[models.a]\nidle_ttl = \"soon\"\n", ":2: ", "10m"},
      {"sampling out of range", "[models.a.sampling]\ntop_p = 1.5\n", ":2: ", "0..1"},
      {"pool without host", "[pools.a]\nuser = \"u\"\n", ":1: ", "needs a host"},
      {"not TOML", "a = \n", ":1: ", ""},
  };
  for (const auto& [name, text, line, why] : cases) {
    SCOPED_TRACE(name);
    sources_.files.clear();
    const auto path = file("bad.toml", text);
    const auto settings = load_settings(sources_);
    ASSERT_FALSE(settings);
    EXPECT_EQ(settings.error().code, Code::invalid_request);
    EXPECT_NE(settings.error().message.find(path.string() + line), std::string::npos)
        << settings.error().message;
    EXPECT_NE(settings.error().message.find(why), std::string::npos) << settings.error().message;
  }
}

// Symptom: the TOML library ended the process by an assertion on a table without a name.
TEST_F(SettingsFiles, ATableWithoutANameIsRefused) {
  file("bad.toml", "[ = 1]\n");
  const auto settings = load_settings(sources_);
  ASSERT_FALSE(settings);
  EXPECT_EQ(settings.error().code, Code::invalid_request);
}

TEST_F(SettingsFiles, ABadVariableIsNamed) {
  environment_["LLORCH_WORKER_SLOTS"] = "many";
  const auto settings = load_settings(sources_);
  ASSERT_FALSE(settings);
  EXPECT_NE(settings.error().message.find("LLORCH_WORKER_SLOTS"), std::string::npos);
}

TEST_F(SettingsFiles, OnlyAFileThatWasAskedForMustExist) {
  sources_.files = {folder_ / "absent.toml"};
  EXPECT_TRUE(load_settings(sources_));
  sources_.files_required = true;
  const auto settings = load_settings(sources_);
  ASSERT_FALSE(settings);
  EXPECT_EQ(settings.error().code, Code::not_found);
}

// clause: E-7
TEST_F(SettingsFiles, AFileThatCannotBeReadSaysWhatToDo) {
  // Nobody opens a socket as a file, not even root.
  const auto path = (folder_ / "llorch.toml").string();
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  ASSERT_LT(path.size(), sizeof(address.sun_path));
  path.copy(address.sun_path, path.size());
  const int holder = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(holder, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ::close(holder);
  sources_.files = {path};
  const auto settings = load_settings(sources_);
  ASSERT_FALSE(settings);
  EXPECT_EQ(settings.error().code, Code::forbidden);
  EXPECT_FALSE(settings.error().next.empty());
}

}  // namespace
}  // namespace llorch
