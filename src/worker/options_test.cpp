// The flags of llorch-candled: layers, ranges, names, and what is refused.
#include "worker/options.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <vector>

#include "base/result.h"
#include "worker/backend_list.h"

namespace llorch {
namespace {

using Environment = std::map<std::string, std::string>;

Settings settings_of(const Environment& environment) {
  const auto lookup = [&](const char* name) -> std::optional<std::string> {
    const auto found = environment.find(name);
    if (found == environment.end()) return std::nullopt;
    return found->second;
  };
  auto settings = load_settings({.environment = lookup, .files = {}});
  EXPECT_TRUE(settings);
  return settings.value_or(Settings{});
}

Result<WorkerCommand> parse(std::vector<const char*> flags, const Environment& environment = {}) {
  flags.insert(flags.begin(), "llorch-candled");
  return parse_worker_command(static_cast<int>(flags.size()), flags.data(),
                              settings_of(environment));
}

WorkerOptions parsed(const std::vector<const char*>& flags, const Environment& environment = {}) {
  const auto command = parse(flags, environment);
  EXPECT_TRUE(command && std::holds_alternative<WorkerOptions>(*command));
  return command ? std::get<WorkerOptions>(*command) : WorkerOptions{};
}

std::vector<std::string> broken_fields(const Result<WorkerCommand>& command) {
  std::vector<std::string> fields;
  if (command) return fields;
  EXPECT_EQ(command.error().code, Code::invalid_request);
  EXPECT_FALSE(command.error().next.empty());
  for (const auto& violation : command.error().violations) fields.push_back(violation.field);
  return fields;
}

// contract: §2 flags and their defaults
TEST(ParseWorkerCommand, HasTheContractsDefaults) {
  const auto options = parsed({"--model", "m.gguf"});
  EXPECT_EQ(options.host, "127.0.0.1");
  EXPECT_EQ(options.port, 0);
  EXPECT_EQ(options.engine.backend, "cpu");
  EXPECT_EQ(options.queue, 64);
  EXPECT_EQ(options.drain_ms, 30'000);
  EXPECT_EQ(options.engine.itl_target_ms, 150);
  EXPECT_FALSE(options.engine.slots);
  EXPECT_FALSE(options.engine.ctx_tokens);
  EXPECT_EQ(options.engine.kv_dir, "");
  EXPECT_EQ(options.engine.kv_disk_mib, 2'048);
}

// clause: W-60
TEST(ParseWorkerCommand, AFolderForSnapshotsIsAskedForByNameOrSetting) {
  EXPECT_EQ(parsed({"--model", "m", "--kv-dir", "/a"}).engine.kv_dir, "/a");
  const auto set = parsed({"--model", "m"},
                          {{"LLORCH_WORKER_KV_DIR", "/b"}, {"LLORCH_WORKER_KV_DISK_MIB", "64"}});
  EXPECT_EQ(set.engine.kv_dir, "/b");
  EXPECT_EQ(set.engine.kv_disk_mib, 64);
  const auto off = parsed({"--model", "m", "--kv-disk-mib", "0"});
  EXPECT_EQ(off.engine.kv_disk_mib, 0);
  EXPECT_EQ(broken_fields(parse({"--model", "m", "--kv-disk-mib", "64"})),
            std::vector<std::string>{"--kv-dir"});
  EXPECT_EQ(broken_fields(parse({"--model", "m", "--kv-dir", "/a", "--kv-disk-mib", "-1"})),
            std::vector<std::string>{"--kv-disk-mib"});
}

TEST(ParseWorkerCommand, TakesEveryFlag) {
  const auto options =
      parsed({"--model",
              "smollm2",
              "--model-id",
              "m",
              "--worker-id",
              "w-1",
              "--host",
              "0.0.0.0",
              "--advertise",
              "box",
              "--port",
              "8080",
              "--pool-host",
              "p",
              "--backend",
              "cuda",
              "--gpu",
              "1",
              "--orchestrator-url",
              "http://o:8080",
              "--slots",
              "8",
              "--ctx-tokens",
              "2048",
              "--threads",
              "3",
              "--itl-target-ms",
              "100",
              "--queue",
              "0",
              "--drain-ms",
              "5"},
             {{"LLORCH_WORKER_TOKEN", "0123456789abcdef"}, {"LLORCH_API_TOKEN", "k"}});
  EXPECT_EQ(options.model, "smollm2");
  EXPECT_EQ(options.model_id, "m");
  EXPECT_EQ(options.worker_id, "w-1");
  EXPECT_EQ(options.host, "0.0.0.0");
  EXPECT_EQ(options.advertise, "box");
  EXPECT_EQ(options.port, 8080);
  EXPECT_EQ(options.pool_host, "p");
  EXPECT_EQ(options.engine.backend, "cuda");
  EXPECT_EQ(options.engine.gpu, 1);
  EXPECT_EQ(options.orchestrator_url, "http://o:8080");
  EXPECT_EQ(options.engine.slots, 8);
  EXPECT_EQ(options.engine.ctx_tokens, 2048);
  EXPECT_EQ(options.engine.threads, 3);
  EXPECT_EQ(options.engine.itl_target_ms, 100);
  EXPECT_EQ(options.queue, 0);
  EXPECT_EQ(options.drain_ms, 5);
  EXPECT_EQ(options.worker_token, "0123456789abcdef");
  EXPECT_EQ(options.api_token, "k");
}

// contract: §1 flag > environment > default
TEST(ParseWorkerCommand, LetsAFlagWinOverTheEnvironment) {
  const Environment environment = {{"LLORCH_WORKER_SLOTS", "2"}, {"LLORCH_WORKER_QUEUE", "7"}};
  const auto from_environment = parsed({"--model", "m"}, environment);
  EXPECT_EQ(from_environment.engine.slots, 2);
  EXPECT_EQ(from_environment.queue, 7);
  const auto from_flags = parsed({"--model", "m", "--slots", "5", "--queue", "1"}, environment);
  EXPECT_EQ(from_flags.engine.slots, 5);
  EXPECT_EQ(from_flags.queue, 1);
  EXPECT_FALSE(parsed({"--model", "m", "--slots", "auto"}, environment).engine.slots);
}

TEST(ParseWorkerCommand, RefusesWhatIsOutOfRange) {
  struct Case {
    const char* name;
    std::vector<const char*> flags;
    std::vector<std::string> fields;
  };
  const Case cases[] = {
      {"no model", {}, {"--model"}},
      {"port", {"--model", "m", "--port", "65536"}, {"--port"}},
      {"slots zero", {"--model", "m", "--slots", "0"}, {"--slots"}},
      {"slots past the engine's", {"--model", "m", "--slots", "257"}, {"--slots"}},
      {"slots no number", {"--model", "m", "--slots", "many"}, {"--slots"}},
      {"queue", {"--model", "m", "--queue", "-1"}, {"--queue"}},
      {"all at once",
       {"--port", "-1", "--ctx-tokens", "1", "--backend", "tpu"},
       {"--port", "--ctx-tokens", "--model", "--backend"}}};
  for (const auto& [name, flags, fields] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(broken_fields(parse(flags)), fields);
  }
}

TEST(ParseWorkerCommand, EndsAtOnceForHelpVersionAndUnknownFlags) {
  const auto exit_of = [](std::vector<const char*> flags) {
    const auto command = parse(std::move(flags));
    EXPECT_TRUE(command && std::holds_alternative<ExitNow>(*command));
    return command ? std::get<ExitNow>(*command).code : -1;
  };
  testing::internal::CaptureStdout();
  EXPECT_EQ(exit_of({"--help"}), exit_ok);
  const auto help = testing::internal::GetCapturedStdout();
  EXPECT_NE(help.find("Examples:"), std::string::npos);
  testing::internal::CaptureStdout();
  EXPECT_EQ(exit_of({"--version"}), exit_ok);
  EXPECT_TRUE(testing::internal::GetCapturedStdout().starts_with("llorch-candled "));
  testing::internal::CaptureStderr();
  EXPECT_EQ(exit_of({"--modle", "x"}), exit_usage);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("--model"), std::string::npos);
}

TEST(ParseWorkerCommand, ListsBackendsWithoutAModel) {
  const auto command = parse({"--list-backends", "--json"});
  ASSERT_TRUE(command && std::holds_alternative<ListBackends>(*command));
  EXPECT_TRUE(std::get<ListBackends>(*command).json);
}

TEST(BackendList, GroupsDevicesByBackend) {
  EXPECT_EQ(
      backends_json({{"cpu", 0, "EPYC", 10, 5}, {"cuda", 0, "A", 2, 1}, {"cuda", 1, "B", 2, 1}}),
      R"({"backends":[{"name":"cpu","available":true,"devices":[{"index":0,"name":"EPYC",)"
      R"("memory_bytes":10,"memory_free_bytes":5}]},{"name":"cuda","available":true,)"
      R"("devices":[{"index":0,"name":"A","memory_bytes":2,"memory_free_bytes":1},)"
      R"({"index":1,"name":"B","memory_bytes":2,"memory_free_bytes":1}]}]})");
}

// contract: §2 honest start-up failures
TEST(ResolveWorkerModel, RefusesAFileThatIsNotAModelBeforeTheEngineSeesIt) {
  WorkerOptions options;
  options.model = "/nonexistent/model.gguf";
  const auto missing = resolve_worker_model(options, Settings{});
  ASSERT_FALSE(missing);
  EXPECT_TRUE(missing.error().code == Code::not_found ||
              missing.error().code == Code::model_not_found);
  EXPECT_FALSE(missing.error().message.empty());

  const auto path = testing::TempDir() + "not-a-model.gguf";
  std::FILE* const file = std::fopen(path.c_str(), "wb");
  ASSERT_NE(file, nullptr);
  std::fputs("GGUF but nothing of the kind", file);
  std::fclose(file);
  options.model = path;
  const auto damaged = resolve_worker_model(options, Settings{});
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code, Code::model_load_failed);
  EXPECT_NE(damaged.error().message.find("not-a-model.gguf"), std::string::npos);
  EXPECT_FALSE(damaged.error().next.empty());
  EXPECT_EQ(options.model_id, "not-a-model");
}

}  // namespace
}  // namespace llorch
